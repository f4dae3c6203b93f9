// The drawn graph: edges in SVG, dots on a canvas, nodes as buttons, so that the
// browser gives themes, focus and hit testing.
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { memo } from "./memo";
import type { GraphEdge, GraphNode, Health } from "../api/types";
import { calm, color, dark } from "../lib/theme";
import { millis, number, share } from "../lib/format";
import { Icon, type IconName } from "../parts/icons";
import { healthTone } from "../parts/basics";
import { useStage, type Stage } from "./camera";
import { along, curves, pathOf, type Curve } from "./paths";
import { edgeState, edgeText, titleOf, type Drawing, type DrawnBox, type DrawnEdge, type DrawnNode, type EdgeLabel } from "./model";
import { Traffic } from "./traffic";

export interface Look { label: EdgeLabel; locks: boolean; traffic: boolean }

interface Props {
  drawing: Drawing;
  look: Look;
  /** Room at the right that something else covers. */
  aside: number;
  selected: string;
  found?: Set<string>;
  onSelect: (id: string) => void;
  stage: (s: Stage) => void;
}

const kindIcon: Record<string, IconName> = { service: "service", workload: "workload", app: "app", gateway: "gateway", external: "external", unknown: "unknown" };

/** Everything within one step of what is selected. */
function neighbourhood(d: Drawing, selected: string): Set<string> | undefined {
  if (!selected) return undefined;
  const ids = new Set<string>([selected]);
  const inBox = new Set(d.nodes.filter((n) => n.node.parent === selected).map((n) => n.node.id));
  let any = inBox.size > 0 || d.nodes.some((n) => n.node.id === selected);
  for (const id of inBox) ids.add(id);
  for (const { edge } of d.edges) {
    if (edge.id === selected || edge.source === selected || edge.target === selected || inBox.has(edge.source) || inBox.has(edge.target)) {
      any = true;
      ids.add(edge.id).add(edge.source).add(edge.target);
    }
  }
  return any ? ids : undefined;
}

export function Canvas({ drawing, look, aside, selected, found, onSelect, stage: give }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const dots = useRef<HTMLCanvasElement>(null);
  const stage = useStage(box);
  useEffect(() => give(stage), []);
  const cam = stage.camera.value;
  const lines = useMemo(() => drawing.edges.map((e) => ({ e, curves: curves(e) })), [drawing]);
  const bright = useMemo(() => neighbourhood(drawing, selected) ?? found, [drawing, selected, found]);

  const size = `${Math.round(drawing.width)}×${Math.round(drawing.height)}`;
  // Before the first frame: from far away no labels are drawn, so none are drawn in vain.
  useLayoutEffect(() => {
    if (!stage.moved.current) stage.fit(drawing.width, drawing.height, aside);
  }, [size, aside]);
  useEffect(() => {
    const watch = new ResizeObserver(() => { if (!stage.moved.current) stage.fit(drawing.width, drawing.height, aside); });
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, [size, aside]);

  useTraffic(dots, stage, lines, look.traffic && !calm.value, bright);

  const far = cam.scale < 0.42;
  return (
    <div
      class={"stage" + (far ? " far" : "")} ref={box} tabIndex={0} role="group" aria-roledescription="service graph"
      aria-label={`Service graph with ${drawing.nodes.length} nodes and ${drawing.edges.length} edges. Tab visits the nodes, arrow keys move the view, plus and minus zoom. The same is there as a table.`}
      onClick={(e) => { if (!(e.target as Element).closest(".gnode, .gedge, .gbox")) onSelect(""); }}
      onKeyDown={(e) => { if (e.key === "Escape") onSelect(""); }}
    >
      <svg class="edges" aria-hidden="true">
        <defs>
          {["ok", "warn", "bad", "tcp", "idle"].map((s) => (
            <marker key={s} id={"tip-" + s} class={"tip " + s} viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 .6 7.4 4 0 7.4z" /></marker>
          ))}
        </defs>
        <g transform={`translate(${cam.x} ${cam.y}) scale(${cam.scale})`}>
          <Boxes boxes={drawing.boxes} />
          <Lines lines={lines} selected={selected} bright={bright} onSelect={onSelect} />
          {look.label !== "none" && !far && <Labels lines={lines} look={look} bright={bright} />}
          {look.label === "none" && look.locks && !far && <Labels lines={lines} look={look} bright={bright} />}
        </g>
      </svg>
      <canvas class="dots" ref={dots} aria-hidden="true" />
      <div class="nodes" style={`transform:translate(${cam.x}px,${cam.y}px) scale(${cam.scale})`}>
        <BoxHeads boxes={drawing.boxes} bright={bright} selected={selected} onSelect={onSelect} />
        <Cards nodes={drawing.nodes} selected={selected} bright={bright} onSelect={onSelect} reveal={stage.reveal} />
      </div>
    </div>
  );
}

type Line = { e: DrawnEdge; curves: Curve[] };

function useTraffic(canvas: { current: HTMLCanvasElement | null }, stage: Stage, lines: Line[], on: boolean, bright?: Set<string>) {
  const running = useRef<Traffic | undefined>(undefined);
  const isDark = dark.value;
  useEffect(() => {
    if (!on) return;
    const colors = { ok: color("edge-ok"), bad: color("edge-bad"), tcp: color("edge-tcp") };
    const t = new Traffic(canvas.current!, () => stage.camera.value, () => colors);
    running.current = t;
    return () => { t.stop(); running.current = undefined; };
  }, [on, isDark]);
  useEffect(() => {
    const flows = lines.filter(({ e }) => edgeState(e.edge) !== "idle" && (!bright || bright.has(e.edge.id)));
    running.current?.show(flows.map(({ e, curves }) => ({ curves, rate: e.edge.rates.rate, errorShare: e.edge.rates.errorShare, tcp: e.edge.protocol === "tcp" })));
  }, [lines, on, isDark, bright]);
}

const dim = (bright: Set<string> | undefined, id: string) => (bright && !bright.has(id) ? " dim" : "");

const Boxes = memo(function Boxes({ boxes }: { boxes: DrawnBox[] }) {
  return <>{boxes.map((b) => <rect key={b.id} class="gboxback" x={b.x} y={b.y} width={b.width} height={b.height} rx="12" />)}</>;
});

const BoxHeads = memo(function BoxHeads({ boxes, bright, selected, onSelect }: { boxes: DrawnBox[]; bright?: Set<string>; selected: string; onSelect: (id: string) => void }) {
  return (
    <>
      {boxes.map((b) => (
        <button key={b.id} type="button" class={"gbox" + (b.id === selected ? " selected" : "") + (bright && selected ? dim(bright, b.id) : "")} style={`transform:translate(${b.x}px,${b.y}px);width:${b.width}px`}
          aria-pressed={b.id === selected} aria-label={`App ${b.title}, all versions`} onClick={() => onSelect(b.id)}>
          <span class="clip">{b.title}</span>
        </button>
      ))}
    </>
  );
});

/** How thick an edge is: one step for each factor of ten of its rate. */
const thickness = (e: GraphEdge) => 1.4 + Math.min(2.6, Math.log10(1 + e.rates.rate) * 0.9);

const Lines = memo(function Lines({ lines, selected, bright, onSelect }: { lines: Line[]; selected: string; bright?: Set<string>; onSelect: (id: string) => void }) {
  return (
    <>
      {lines.map(({ e, curves }) => {
        const d = pathOf(curves);
        const state = edgeState(e.edge);
        return (
          <g key={e.edge.id} data-edge={e.edge.id} data-state={state} class={`gedge ${state}${e.edge.id === selected ? " selected" : ""}${dim(bright, e.edge.id)}`} onClick={() => onSelect(e.edge.id)}>
            <path class="hit" d={d} />
            <path class="line" d={d} stroke-width={thickness(e.edge)} marker-end={`url(#tip-${state})`} />
          </g>
        );
      })}
    </>
  );
});

const Labels = memo(function Labels({ lines, look, bright }: { lines: Line[]; look: Look; bright?: Set<string> }) {
  const totals = new Map<string, number>();
  for (const { e } of lines) totals.set(e.edge.source, (totals.get(e.edge.source) ?? 0) + e.edge.rates.rate);
  return (
    <>
      {lines.map(({ e, curves }) => {
        const text = edgeText(e.edge, look.label, totals.get(e.edge.source) ?? 0);
        const lock = look.locks && e.edge.mtls !== undefined ? (e.edge.mtls > 0.999 ? "on" : "off") : "";
        if (!text && !lock) return null;
        // In the last gap before the card: there edges lie apart.
        const p = curves.length > 1 ? along(curves, 1 - 0.5 / curves.length) : along(curves, 0.52);
        return (
          <g key={e.edge.id} class={"glabel" + dim(bright, e.edge.id) + " " + edgeState(e.edge)} transform={`translate(${p.x} ${p.y})`}>
            {text && <text text-anchor="middle" dy="3.6" dx={lock ? 6 : 0}>{text}</text>}
            {lock && <g class={"lock " + lock} transform={`translate(${-(text.length * 2.9 + 9)} -5)`}>
              <rect x="0" y="4" width="8" height="6" rx="1.2" />
              <path d={lock === "on" ? "M1.6 4V2.8a2.4 2.4 0 0 1 4.8 0V4" : "M1.6 4V2.6a2.4 2.4 0 0 1 4.5-1.2"} />
            </g>}
          </g>
        );
      })}
    </>
  );
});

const Cards = memo(function Cards({ nodes, selected, bright, onSelect, reveal }: { nodes: DrawnNode[]; selected: string; bright?: Set<string>; onSelect: (id: string) => void; reveal: Stage["reveal"] }) {
  return (
    <>
      {nodes.map((n) => (
        <button
          key={n.node.id} type="button" data-node={n.node.id}
          class={`gnode ${n.node.kind} h-${healthTone[n.node.health]}${n.node.id === selected ? " selected" : ""}${n.node.outOfMesh ? " out" : ""}${dim(bright, n.node.id)}`}
          style={`transform:translate(${n.x}px,${n.y}px);width:${n.width}px;height:${n.height}px`}
          aria-pressed={n.node.id === selected}
          onClick={() => onSelect(n.node.id)}
          onFocus={(e) => { if (e.currentTarget.matches(":focus-visible")) reveal(n.x, n.y, n.width, n.height); }}
        >
          <span class="ico"><Icon name={kindIcon[n.node.kind] ?? "service"} size={17} /></span>
          <span class="txt">
            <span class="nm">{titleOf(n.node.parent && !nodes.some((x) => x !== n && x.node.parent === n.node.parent) ? { ...n.node, parent: undefined } : n.node)}</span>
            {n.subtitle && <span class="sb">{n.subtitle}</span>}
            <span class="sr">, {describe(n.node)}</span>
          </span>
        </button>
      ))}
    </>
  );
});

const healthWords: Record<Health, string> = { healthy: "healthy", degraded: "degraded", failing: "failing", idle: "idle", unknown: "health unknown" };

/** A node in words. */
export function describe(n: GraphNode): string {
  const r = n.inbound ?? n.outbound;
  return [
    `${n.kind} ${n.app && n.kind === "app" ? n.app : n.name}`, n.version && `version ${n.version}`, n.namespace && `namespace ${n.namespace}`, healthWords[n.health],
    r?.rate ? `${number(r.rate)} requests per second, ${share(r.errorShare)} errors` + (r.p95 !== undefined ? `, p95 ${millis(r.p95)}` : "") : "",
    n.outOfMesh && "out of the mesh",
  ].filter(Boolean).join(", ");
}
