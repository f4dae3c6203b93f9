import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Graph, Mesh, View } from "../api/types";
import { url } from "../api/client";
import { useResource } from "../lib/resource";
import { param, setParams } from "../lib/router";
import { at, duration, paused, setPaused, ticks } from "../lib/time";
import { calm } from "../lib/theme";
import { stored } from "../lib/stored";
import { Empty, Menu, Notice, Segments, Sheet } from "../parts/basics";
import { Icon } from "../parts/icons";
import { Alternative } from "../graph/alternative";
import { Canvas } from "../graph/canvas";
import type { Stage } from "../graph/camera";
import { parse, words } from "../graph/filter";
import { draw, found, labelNames, visible, type EdgeLabel, type Memory } from "../graph/model";
import { Panel } from "../graph/panel";
import { Replay } from "../graph/replay";

/** How wide the panel at the side is, as in graph.css. */
const panelWidth = 372;

const views: [View, string][] = [["versionedApp", "Versions"], ["app", "Apps"], ["service", "Services"], ["workload", "Workloads"]];

const showTraffic = stored("graph.traffic", true);
const showLocks = stored("graph.locks", true);
const showIdle = stored("graph.idle", false);
const showSummary = stored("graph.summary", false);

export function GraphPage() {
  const view = (param("view") || "versionedApp") as View;
  const label = (param("label") || "rate") as EdgeLabel;
  const selected = param("focus");
  const hide = param("hide"), find = param("find");
  const table = param("as") === "table";
  const [replay, setReplay] = useState(false);
  const [help, setHelp] = useState(false);
  const stage = useRef<Stage>(undefined);
  const path = url("api/graph", { view, namespaces: param("ns"), duration: duration.value, at: at.value ?? undefined, idle: showIdle.value || undefined });
  const { data, error } = useResource<Graph>(path, ticks.graph);
  const hiding = useMemo(() => parse(hide), [hide]);
  const graph = useMemo(() => data && visible(data, hiding), [data, hiding]);
  const finding = useMemo(() => (graph ? found(graph, find) : {}), [graph, find]);
  const drawing = useDrawing(graph, label);
  const look = useMemo(() => ({ label, locks: showLocks.value, traffic: showTraffic.value && !paused.value }), [label, showLocks.value, showTraffic.value, paused.value]);
  const select = (id: string) => setParams({ focus: id || undefined });
  const panel = (!!selected || showSummary.value) && !!graph && graph.nodes.length > 0;
  const fit = () => { if (drawing && stage.current) stage.current.fit(drawing.width, drawing.height, panel ? panelWidth : 0); };
  useEffect(() => {
    const n = drawing?.nodes.find((x) => x.node.id === selected);
    if (n) stage.current?.reveal(n.x, n.y, n.width, n.height, panelWidth);
  }, [selected, !drawing]);
  useEffect(() => { if (stage.current) stage.current.moved.current = false; }, [view, param("ns"), hide]);

  return (
    <div class="graphpage">
      <div class="graphbar" role="toolbar" aria-label="Graph">
        <Segments label="View" value={view} options={views} onChange={(v) => setParams({ view: v === "versionedApp" ? undefined : v, focus: undefined })} />
        <label class="row">
          <span class="sr">At the edges</span>
          <select value={label} onChange={(e) => setParams({ label: e.currentTarget.value === "rate" ? undefined : e.currentTarget.value })}>
            {labelNames.map(([v, t]) => <option key={v} value={v}>{t}</option>)}
          </select>
        </label>
        <Expression label="Find" icon="search" name="find" value={find} problem={finding.problem} />
        <Expression label="Hide" icon="filter" name="hide" value={hide} problem={hiding.problem} />
        <button type="button" class="button quiet icon" aria-label="How to write filters" title="How to write filters" onClick={() => setHelp(true)}><Icon name="info" /></button>
        <span class="grow" />
        <Menu label="What is shown" icon="layers">
          {() => (
            <div class="optionlist">
              <Option label="Traffic animation" signal={showTraffic} note={calm.value ? "off: the system asks for little motion" : ""} />
              <Option label="Mutual TLS locks" signal={showLocks} />
              <Option label="Nodes without traffic" signal={showIdle} />
              <Option label="Overview at the side" signal={showSummary} />
            </div>
          )}
        </Menu>
        <button type="button" class="button icon" aria-label="Replay" title="Replay what happened" aria-pressed={replay} onClick={() => setReplay(!replay)}><Icon name="replay" /></button>
        <button type="button" class="button icon" aria-label={paused.value ? "Go on with live data" : "Pause"} title={paused.value ? "Go on with live data" : "Pause"} aria-pressed={paused.value} onClick={() => setPaused(!paused.value)}><Icon name={paused.value ? "play" : "pause"} /></button>
        <button type="button" class="button icon" aria-label="Show the graph as a table" title="As a table" aria-pressed={table} onClick={() => setParams({ as: table ? undefined : "table" })}><Icon name="table" /></button>
      </div>
      <div class="graphmain">
        {error && !graph && <div class="graphempty"><Notice tone="bad">{error.message}</Notice></div>}
        {graph && graph.nodes.length === 0 && <Nothing hidden={!!data && data.nodes.length > 0} />}
        {graph && table && <div style="position:absolute;inset:0;overflow:auto" tabIndex={0} role="region" aria-label="Graph as tables"><Alternative graph={graph} onSelect={select} /></div>}
        {drawing && graph && graph.nodes.length > 0 && !table && (
          <>
            <Canvas drawing={drawing} look={look} aside={showSummary.value ? panelWidth : 0} selected={selected} found={finding.ids} onSelect={select} stage={(s) => (stage.current = s)} />
            <div class="zoomer" role="group" aria-label="Zoom">
              <button type="button" aria-label="Closer" onClick={() => stage.current?.zoom(1.25)}><Icon name="plus" /></button>
              <button type="button" aria-label="Farther" onClick={() => stage.current?.zoom(0.8)}><Icon name="minus" /></button>
              <button type="button" aria-label="Fit into the window" onClick={fit}><Icon name="fit" /></button>
            </div>
            <Legend />
          </>
        )}
      </div>
      {panel && graph && <Panel graph={graph} selected={selected} onSelect={select} />}
      {replay && <ReplayWithHistory onClose={() => setReplay(false)} />}
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

/** Lays out anew when the shape changed; numbers alone keep every place. */
function useDrawing(graph: Graph | undefined, label: EdgeLabel) {
  const memory = useRef<Memory>({ widths: new Map(), shape: "" });
  const drawing = useMemo(() => {
    if (!graph) return undefined;
    performance.mark("lateen-layout");
    const d = draw(graph, label, memory.current);
    performance.measure("lateen-layout", "lateen-layout");
    return d;
  }, [graph, label === "none"]);
  useEffect(() => {
    if (!drawing) return;
    // After the frame that shows it: for the test of how long drawing takes.
    requestAnimationFrame(() => setTimeout(() => performance.mark("lateen-drawn", { detail: drawing.nodes.length })));
  }, [drawing]);
  return drawing;
}

function Option({ label, signal, note }: { label: string; signal: { value: boolean }; note?: string }) {
  return (
    <label class="check">
      <input type="checkbox" checked={signal.value} onChange={(e) => (signal.value = e.currentTarget.checked)} />
      <span>{label}{note && <span class="faint small"> ({note})</span>}</span>
    </label>
  );
}

function Expression({ label, icon, name, value, problem }: { label: string; icon: "search" | "filter"; name: string; value: string; problem?: string }) {
  const [text, setText] = useState(value);
  const timer = useRef(0);
  useEffect(() => setText(value), [value]);
  return (
    <div class="find">
      <label class="searchbox">
        <span class="sr">{label}: an expression such as “errors &gt; 1%” or “version = v2”</span>
        <Icon name={icon} size={14} />
        <input type="search" value={text} placeholder={label} aria-invalid={!!problem} spellcheck={false} autocomplete="off" name={name}
          onInput={(e) => {
            const v = e.currentTarget.value;
            setText(v);
            clearTimeout(timer.current);
            timer.current = window.setTimeout(() => setParams({ [name]: v || undefined }), 250);
          }} />
      </label>
      {problem && <div class="problem" role="alert">{problem}</div>}
    </div>
  );
}

function Nothing({ hidden }: { hidden: boolean }) {
  return (
    <div class="graphempty">
      {hidden ? <Empty icon="filter" title="Everything is hidden"><p>The expression in “Hide” fits every node.</p></Empty> : (
        <Empty icon="graph" title="No traffic in this time">
          <p>Send some requests: within seconds the graph shows who calls whom. Nodes without traffic can be shown, too (the menu with the layers).</p>
          <pre>for i in $(seq 100); do curl -s -o /dev/null localhost:8080/productpage; done</pre>
        </Empty>
      )}
    </div>
  );
}

function Legend() {
  return (
    <div class="legendbox" aria-hidden="true">
      <span><i class="l" style="background:var(--edge-ok)" />healthy</span>
      <span><i class="l" style="background:var(--edge-warn)" />some errors</span>
      <span><i class="l" style="background:var(--edge-bad)" />10 % or more</span>
      <span><i class="l" style="background:var(--edge-tcp)" />TCP</span>
    </div>
  );
}

function ReplayWithHistory({ onClose }: { onClose: () => void }) {
  const { data } = useResource<Mesh>("api/mesh");
  return data ? <Replay oldest={data.history.oldest} onClose={onClose} /> : null;
}

function Help({ onClose }: { onClose: () => void }) {
  const examples: [string, string][] = [
    ["errors >= 1%", "edges and nodes with at least one per cent of errors"],
    ["p95 > 500ms and rate > 1", "slow and busy"],
    ["name ~ ^rev and not version = v1", "a regular expression, and a negation"],
    ["ns in (default, shop)", "one of several"],
    ["!mtls and kind = http", "HTTP edges not under mutual TLS"],
    ["source = productpage or flag = UF", "who calls; Envoy's response flags"],
    ["reviews", "a word alone is part of a name"],
  ];
  return (
    <Sheet title="Find and hide" small onClose={onClose}>
      <div class="stack">
        <dl class="helptable">{examples.map(([e, t]) => <><dt><code>{e}</code></dt><dd class="muted">{t}</dd></>)}</dl>
        <p class="small muted">Fields: {words.fields.map((f, i) => <>{i > 0 && ", "}<code>{f}</code></>)}.</p>
        <p class="small muted">Flags: {words.flags.map((f, i) => <>{i > 0 && ", "}<code>{f}</code></>)}.</p>
        <p class="small muted">Operators: <code>= != &lt; &gt; &lt;= &gt;= ~ !~ in</code>, <code>and</code>, <code>or</code>, <code>not</code>, brackets.</p>
      </div>
    </Sheet>
  );
}
