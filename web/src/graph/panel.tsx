// What the side panel tells of the node or edge that is selected, or of all.
import { useEffect, useState } from "preact/hooks";
import type { Chart, Graph, GraphEdge, GraphNode, PromRange, Rates, Service, Workload } from "../api/types";
import { api, url } from "../api/client";
import { at, duration, secondsOf, ticks } from "../lib/time";
import { useResource } from "../lib/resource";
import { linksOf, serviceLink, split } from "../lib/links";
import { number, plural, rate, share, throughput } from "../lib/format";
import { Badge, HealthMark } from "../parts/basics";
import { ChartView } from "../parts/chart";
import { Icon } from "../parts/icons";
import { Codes, errorTone, Metrics } from "../parts/metrics";
import { describe } from "./canvas";
import { edgeState, titleOf } from "./model";
import { WizardMenu } from "../wizards/menu";

interface Props { graph: Graph; selected: string; onSelect: (id: string) => void }

export function Panel({ graph, selected, onSelect }: Props) {
  const node = graph.nodes.find((n) => n.id === selected);
  const edge = graph.edges.find((e) => e.id === selected);
  const box = !node && !edge ? graph.nodes.filter((n) => n.parent === selected) : [];
  const close = () => onSelect("");
  return (
    <aside class="sidepanel" aria-label="Details of the selection">
      {node ? <NodePanel graph={graph} node={node} onSelect={onSelect} close={close} />
        : edge ? <EdgePanel graph={graph} edge={edge} onSelect={onSelect} close={close} />
        : box.length > 0 ? <BoxPanel graph={graph} nodes={box} onSelect={onSelect} close={close} />
        : <Summary graph={graph} onSelect={onSelect} />}
    </aside>
  );
}

function Head({ kind, title, sub, close, health }: { kind: string; title: string; sub?: string; close: () => void; health?: GraphNode["health"] }) {
  return (
    <header>
      <div class="row apart">
        <span class="kind">{kind}</span>
        <button type="button" class="button quiet icon" style="height:26px;width:26px;margin:-4px -4px 0 0" aria-label="Close the details" onClick={close}><Icon name="close" size={14} /></button>
      </div>
      <h2>{title}</h2>
      <div class="row apart small" style="margin-top:4px">{sub ? <span class="muted">{sub}</span> : <span />}{health && <HealthMark health={health} />}</div>
    </header>
  );
}

const kindNames: Record<string, string> = { service: "Service", workload: "Workload", app: "App", gateway: "Gateway", external: "External service", unknown: "Outside the mesh" };

function NodePanel({ graph, node, onSelect, close }: { graph: Graph; node: GraphNode; onSelect: (id: string) => void; close: () => void }) {
  const links = linksOf(node);
  const service = node.services?.[0] ?? (node.kind === "service" && node.namespace ? `${node.namespace}/${node.name}` : undefined);
  return (
    <>
      <Head kind={kindNames[node.kind] ?? node.kind} title={node.kind === "app" ? node.app ?? node.name : titleOf(node)} sub={[node.version, node.namespace].filter(Boolean).join(" · ")} close={close} health={node.health} />
      {links.length > 0 && (
        <section class="row wrap">
          {links.slice(0, 4).map((l) => <a key={l.to} class="button" href={l.to}>{l.text}<Icon name="arrow" size={13} /></a>)}
          {service && node.kind !== "gateway" && node.kind !== "external" && <WizardMenu service={service} left />}
        </section>
      )}
      {node.inbound && <section class="stack tight"><h3>Inbound</h3><Metrics rates={node.inbound} tcp={onlyTCP(node.inbound)} /><Codes rates={node.inbound} /></section>}
      {node.outbound && (node.outbound.rate > 0 || (node.outbound.bytesSent ?? 0) > 0) && <section class="stack tight"><h3>Outbound</h3><Metrics rates={node.outbound} tcp={onlyTCP(node.outbound)} /></section>}
      <NodeCharts node={node} />
      <Peers graph={graph} ids={[node.id]} onSelect={onSelect} />
      <p class="sr">{describe(node)}</p>
    </>
  );
}

const onlyTCP = (r: Rates) => r.rate === 0 && (r.bytesSent ?? 0) + (r.bytesReceived ?? 0) > 0;

/** Charts of the service or workload behind a node, as their own pages have them. */
function NodeCharts({ node }: { node: GraphNode }) {
  const [kind, ref] = node.workloads?.length === 1 ? ["workloads", node.workloads[0]!] : node.services?.length === 1 ? ["services", node.services[0]!]
    : node.kind === "service" || node.kind === "workload" ? [node.kind + "s", `${node.namespace}/${node.name}`] : ["", ""];
  const [ns, name] = split(ref);
  const { data } = useResource<Service | Workload>(kind ? url(`api/${kind}/${encodeURIComponent(ns)}/${encodeURIComponent(name)}`, { duration: chartSpan(), at: at.value ?? undefined }) : null, ticks.graph);
  const charts = data?.charts.filter((c) => ["inbound-rate", "inbound-latency"].includes(c.id) && c.lines.length > 0) ?? [];
  if (charts.length === 0) return null;
  return <section class="stack">{charts.map((c) => <ChartView key={c.id} chart={c} height={110} />)}</section>;
}

/** Charts look back at least ten minutes: a minute is no line. */
export function chartSpan(): string {
  return secondsOf(duration.value) < 600 ? "10m" : duration.value;
}

function Peers({ graph, ids, onSelect }: { graph: Graph; ids: string[]; onSelect: (id: string) => void }) {
  const by = new Map(graph.nodes.map((n) => [n.id, n]));
  const own = new Set(ids);
  const callers = graph.edges.filter((e) => own.has(e.target) && !own.has(e.source));
  const called = graph.edges.filter((e) => own.has(e.source) && !own.has(e.target));
  const list = (title: string, edges: GraphEdge[], end: "source" | "target") => edges.length > 0 && (
    <section>
      <h3 style="margin-bottom:6px">{title}</h3>
      <div class="peers">
        {edges.sort((a, b) => b.rates.rate - a.rates.rate).map((e) => {
          const n = by.get(e[end]);
          const total = edges.reduce((s, x) => s + x.rates.rate, 0);
          return (
            <button key={e.id} type="button" onClick={() => onSelect(e.id)}>
              <i class={"dot " + { ok: "ok", warn: "warn", bad: "bad", tcp: "ok", idle: "idle" }[edgeState(e)]} />
              <span class="clip">{n ? (n.kind === "app" ? [n.app ?? n.name, n.version].filter(Boolean).join(" ") : titleOf(n)) : e[end]}</span>
              <span class="num">{e.protocol === "tcp" ? throughput((e.rates.bytesSent ?? 0) + (e.rates.bytesReceived ?? 0)) : rate(e.rates.rate) + (edges.length > 1 && total > 0 ? ` · ${share(e.rates.rate / total)}` : "")}</span>
            </button>
          );
        })}
      </div>
    </section>
  );
  return <>{list("Called by", callers, "source")}{list("Calls", called, "target")}</>;
}

function EdgePanel({ graph, edge, onSelect, close }: { graph: Graph; edge: GraphEdge; onSelect: (id: string) => void; close: () => void }) {
  const find = (id: string) => graph.nodes.find((n) => n.id === id);
  const a = find(edge.source), b = find(edge.target);
  const name = (n?: GraphNode) => (n ? (n.kind === "app" ? [n.app ?? n.name, n.version].filter(Boolean).join(" ") : titleOf(n)) : "?");
  const tls = edge.mtls;
  return (
    <>
      <Head kind={{ http: "HTTP traffic", grpc: "gRPC traffic", tcp: "TCP traffic" }[edge.protocol]} title={`${name(a)} → ${name(b)}`} sub={edge.services?.join(", ")} close={close} />
      <section class="row wrap">
        {a && <button type="button" class="button" onClick={() => onSelect(a.id)}>{name(a)}</button>}
        <Icon name="arrow" />
        {b && <button type="button" class="button" onClick={() => onSelect(b.id)}>{name(b)}</button>}
      </section>
      <section class="stack tight">
        <Metrics rates={edge.rates} tcp={edge.protocol === "tcp"} />
        <Codes rates={edge.rates} />
      </section>
      <EdgeChart edge={edge} source={a} target={b} />
      <section class="stack tight">
        <h3>Security</h3>
        {tls === undefined ? <span class="muted small">Nobody knows: no proxy of the mesh stands at the other end.</span>
          : tls > 0.999 ? <Badge tone="ok" icon="lock">Mutual TLS</Badge>
          : <Badge tone="warn" icon="unlock">{tls > 0 ? `Mutual TLS for ${share(tls)} only` : "Plain text"}</Badge>}
        {(edge.sourcePrincipal || edge.targetPrincipal) && (
          <dl class="pairs small">
            {edge.sourcePrincipal && <><dt>Caller</dt><dd class="mono">{edge.sourcePrincipal}</dd></>}
            {edge.targetPrincipal && <><dt>Called</dt><dd class="mono">{edge.targetPrincipal}</dd></>}
          </dl>
        )}
        {edge.reporter && <span class="faint small">Counted by the {edge.reporter === "source" ? "caller's" : "called side's"} proxy.</span>}
      </section>
    </>
  );
}

/** The history of one edge, asked of the Prometheus API by the ends' workloads. */
function EdgeChart({ edge, source, target }: { edge: GraphEdge; source?: GraphNode; target?: GraphNode }) {
  const [chart, set] = useState<Chart>();
  const tick = ticks.graph.value;
  const selector = edgeSelector(edge, source, target);
  const end = at.value;
  const length = secondsOf(chartSpan());
  useEffect(() => {
    if (!selector) return;
    const abort = new AbortController();
    const to = end ?? Math.floor(Date.now() / 1000), step = Math.max(5, Math.round(length / 120));
    const metric = edge.protocol === "tcp" ? "istio_tcp_sent_bytes_total" : "istio_requests_total";
    const by = edge.protocol === "tcp" ? "" : " by (response_code)";
    api.queryRange(`sum${by} (rate(${metric}{${selector}}[1m]))`, to - length, to, step, abort.signal).then((r) => set(toChart(r, edge)), () => set(undefined));
    return () => abort.abort();
  }, [selector, tick, end, length]);
  if (!chart || chart.lines.length === 0) return null;
  return <section><ChartView chart={chart} height={120} title={edge.protocol === "tcp" ? "Throughput" : "Requests by answer"} /></section>;
}

function edgeSelector(edge: GraphEdge, source?: GraphNode, target?: GraphNode): string {
  const side = (n: GraphNode | undefined, prefix: string) => {
    if (!n) return "";
    if (n.kind === "unknown") return `${prefix}_workload="unknown"`;
    const names = (n.workloads ?? []).map((w) => split(w)[1]);
    if (names.length > 0) return `${prefix}_workload=~"${names.map((x) => x.replace(/[.+*?()[\]{}|\\^$]/g, "\\\\$&")).join("|")}",${prefix}_workload_namespace="${n.namespace ?? ""}"`;
    if (prefix === "destination" && n.kind === "service") return `destination_service_name="${n.name}",destination_service_namespace="${n.namespace ?? ""}"`;
    if (prefix === "destination" && n.kind === "external") return `destination_service="${n.name}"`;
    return "";
  };
  const a = side(source, "source"), b = side(target, "destination");
  if (!a || !b) return "";
  return [`reporter="${edge.reporter ?? "source"}"`, a, b].join(",");
}

function toChart(r: PromRange, edge: GraphEdge): Chart | undefined {
  const result = r.data?.result ?? [];
  const times = [...new Set(result.flatMap((s) => s.values.map(([t]) => t)))].sort((a, b) => a - b);
  const lines = new Map<string, Map<number, number>>();
  for (const s of result) {
    const code = s.metric["response_code"] ?? "";
    const name = edge.protocol === "tcp" ? "sent" : code === "0" || code === "" ? "none" : code[0] + "xx";
    const line = lines.get(name) ?? new Map<number, number>();
    for (const [t, v] of s.values) line.set(t, (line.get(t) ?? 0) + Number(v));
    lines.set(name, line);
  }
  return {
    id: "edge", unit: edge.protocol === "tcp" ? "bytes per second" : "per second", times,
    lines: [...lines].sort(([a], [b]) => a.localeCompare(b)).map(([name, v]) => ({ name, values: times.map((t) => v.get(t) ?? null) })),
  };
}

function BoxPanel({ graph, nodes, onSelect, close }: { graph: Graph; nodes: GraphNode[]; onSelect: (id: string) => void; close: () => void }) {
  const services = [...new Set(nodes.flatMap((n) => n.services ?? []))];
  const total = nodes.reduce((n, x) => n + (x.inbound?.rate ?? 0), 0);
  return (
    <>
      <Head kind="App" title={nodes[0]!.app ?? nodes[0]!.name} sub={`${plural(nodes.length, "version")} · ${nodes[0]!.namespace ?? ""}`} close={close} />
      {services.length > 0 && (
        <section class="row wrap">
          {services.slice(0, 2).map((s) => { const [ns, name] = split(s); return <a key={s} class="button" href={serviceLink(ns, name)}>Service {name}<Icon name="arrow" size={13} /></a>; })}
          <WizardMenu service={services[0]!} left />
        </section>
      )}
      <section>
        <h3 style="margin-bottom:8px">Share of versions</h3>
        <div class="stack tight">
          {nodes.map((n) => {
            const part = total ? (n.inbound?.rate ?? 0) / total : 0;
            return (
              <button key={n.id} type="button" class="peers" style="border:0;background:none;padding:2px 0;cursor:pointer;text-align:left" onClick={() => onSelect(n.id)}>
                <span class="row apart small"><span>{n.version ?? n.name}</span><span class="num">{share(part)} · {number(n.inbound?.rate ?? 0)} rps</span></span>
                <span class="bar" style="margin-top:5px"><i class="accent" style={`width:${part * 100}%`} /></span>
              </button>
            );
          })}
        </div>
      </section>
      <Peers graph={graph} ids={nodes.map((n) => n.id)} onSelect={onSelect} />
    </>
  );
}

function Summary({ graph, onSelect }: { graph: Graph; onSelect: (id: string) => void }) {
  const http = graph.edges.filter((e) => e.protocol !== "tcp");
  const total = http.reduce((n, e) => n + e.rates.rate, 0);
  const errors = http.reduce((n, e) => n + e.rates.rate * e.rates.errorShare, 0);
  const secured = graph.edges.filter((e) => e.mtls !== undefined);
  const mtls = secured.length ? secured.filter((e) => e.mtls! > 0.999).length / secured.length : undefined;
  const trouble = graph.nodes.filter((n) => n.health === "failing" || n.health === "degraded").sort((a, b) => (a.health === "failing" ? 0 : 1) - (b.health === "failing" ? 0 : 1));
  const worst = http.filter((e) => e.rates.errorShare >= 0.001 && e.rates.rate > 0).sort((a, b) => b.rates.errorShare * b.rates.rate - a.rates.errorShare * a.rates.rate).slice(0, 5);
  const by = new Map(graph.nodes.map((n) => [n.id, n]));
  const name = (id: string) => { const n = by.get(id); return n ? (n.kind === "app" ? [n.app ?? n.name, n.version].filter(Boolean).join(" ") : titleOf(n)) : id; };
  return (
    <>
      <header><span class="kind">Overview</span><h2>All that is shown</h2></header>
      <section>
        <dl class="metrics">
          <div><dt>Nodes</dt><dd>{graph.nodes.length}</dd></div>
          <div><dt>Edges</dt><dd>{graph.edges.length}</dd></div>
          <div><dt>Mutual TLS</dt><dd>{mtls === undefined ? "–" : share(mtls)}</dd></div>
          <div><dt>Calls</dt><dd>{number(total)} <span class="small muted">/s</span></dd></div>
          <div><dt>Errors</dt><dd class={total ? errorTone(errors / total) : ""}>{total ? share(errors / total) : "–"}</dd></div>
        </dl>
      </section>
      <section>
        <h3 style="margin-bottom:6px">Needs a look</h3>
        {trouble.length === 0 && worst.length === 0 ? <p class="muted small row"><i class="dot ok" />Nothing: every service with traffic is healthy.</p> : (
          <div class="peers">
            {trouble.slice(0, 8).map((n) => <button key={n.id} type="button" onClick={() => onSelect(n.id)}><i class={"dot " + (n.health === "failing" ? "bad" : "warn")} /><span class="clip">{name(n.id)}</span><span class="num">{n.inbound ? share(n.inbound.errorShare) + " errors" : n.health}</span></button>)}
            {worst.map((e) => <button key={e.id} type="button" onClick={() => onSelect(e.id)}><i class={"dot " + edgeState(e)} /><span class="clip">{name(e.source)} → {name(e.target)}</span><span class="num">{share(e.rates.errorShare)}</span></button>)}
          </div>
        )}
      </section>
      <section>
        <h3 style="margin-bottom:6px">Busiest</h3>
        <div class="peers">
          {[...http].sort((a, b) => b.rates.rate - a.rates.rate).slice(0, 6).filter((e) => e.rates.rate > 0).map((e) => (
            <button key={e.id} type="button" onClick={() => onSelect(e.id)}><span class="clip">{name(e.source)} → {name(e.target)}</span><span class="num">{rate(e.rates.rate)}</span></button>
          ))}
        </div>
      </section>
    </>
  );
}
