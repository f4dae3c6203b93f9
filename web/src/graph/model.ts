// From the API's graph to what is drawn: which nodes are shown, in which boxes, where.
import type { Graph, GraphEdge, GraphNode } from "../api/types";
import { number, share, millis, throughput } from "../lib/format";
import { parse, type Filter } from "./filter";
import { place, type Block, type Point } from "./layout";

export interface DrawnNode { node: GraphNode; x: number; y: number; width: number; height: number; subtitle: string }
export interface DrawnBox { id: string; title: string; namespace?: string; x: number; y: number; width: number; height: number }
export interface DrawnEdge { edge: GraphEdge; from: DrawnNode; to: DrawnNode; bends: Point[]; fromOffset: number; toOffset: number }
export interface Drawing { nodes: DrawnNode[]; boxes: DrawnBox[]; edges: DrawnEdge[]; width: number; height: number; namespaces: number }

export type EdgeLabel = "rate" | "errors" | "p50" | "p95" | "p99" | "throughput" | "share" | "none";
export const labelNames: [EdgeLabel, string][] = [
  ["rate", "Request rate"], ["share", "Share of the caller's requests"], ["errors", "Error share"], ["p50", "Latency p50"], ["p95", "Latency p95"], ["p99", "Latency p99"], ["throughput", "Throughput"], ["none", "Nothing"],
];

const cardHeight = 46;
const boxPadding = 10;
const boxHead = 26;

/** Hides what the filter names, and edges without both ends. */
export function visible(g: Graph, hide: Filter): Graph {
  if (!hide.test) return g;
  const by = new Map(g.nodes.map((n) => [n.id, n]));
  const nodes = g.nodes.filter((n) => !hide.test!({ node: n }));
  const left = new Set(nodes.map((n) => n.id));
  const edges = g.edges.filter((e) => left.has(e.source) && left.has(e.target) && !hide.test!({ edge: e, source: by.get(e.source), target: by.get(e.target) }));
  return { ...g, nodes, edges };
}

/** Ids of the nodes and edges that a find expression means; undefined if there is none. */
export function found(g: Graph, find: string): { ids?: Set<string>; problem?: string } {
  const f = parse(find);
  if (!f.test) return { problem: f.problem };
  const by = new Map(g.nodes.map((n) => [n.id, n]));
  const ids = new Set<string>();
  for (const n of g.nodes) if (f.test({ node: n })) ids.add(n.id);
  for (const e of g.edges) {
    if (f.test({ edge: e, source: by.get(e.source), target: by.get(e.target) })) {
      ids.add(e.id).add(e.source).add(e.target);
    }
  }
  return { ids };
}

/** What a node is called, and the line below. */
export function titleOf(n: GraphNode): string {
  return n.kind === "unknown" ? "Unknown callers" : n.kind === "app" && n.parent && n.version ? n.version : n.name;
}

function subtitleOf(n: GraphNode, severalNamespaces: boolean): string {
  const parts: string[] = [];
  if (n.kind === "external") parts.push("external");
  if (n.kind === "gateway") parts.push("gateway");
  if (n.version && !n.parent && n.kind !== "gateway") parts.push(n.version);
  if (severalNamespaces && n.namespace && !n.parent) parts.push(n.namespace);
  if (n.outOfMesh && n.kind !== "external" && n.kind !== "unknown") parts.push("out of mesh");
  const r = n.inbound?.rate || (n.root ? n.outbound?.rate : 0);
  if (r) parts.push(number(r) + " rps");
  else if (n.health === "idle" && n.kind !== "unknown") parts.push("idle");
  return parts.join(" · ");
}

let pen: CanvasRenderingContext2D | null | undefined;
let family = "";
const measured = new Map<string, number>();

/** The width of a text in the page's type. */
function textWidth(text: string, size: number, weight = 400): number {
  pen ??= document.createElement("canvas").getContext("2d");
  family ||= getComputedStyle(document.body).fontFamily;
  if (!pen) return text.length * size * 0.6;
  const font = `${weight} ${size}px ${family}`;
  let width = measured.get(font + text);
  if (width === undefined) {
    pen.font = font;
    width = pen.measureText(text).width;
    if (measured.size > 5000) measured.clear();
    measured.set(font + text, width);
  }
  return width;
}

function widthOf(title: string, subtitle: string): number {
  return Math.round(Math.min(236, Math.max(118, Math.max(textWidth(title, 13.5, 600), textWidth(subtitle, 11.5)) + 64)));
}

/** What keeps places from one reading to the next: cards do not shrink, and the same shape is not laid out again. */
export interface Memory { widths: Map<string, number>; shape: string; placed?: ReturnType<typeof place> }

/** Lays a graph out. */
export function draw(g: Graph, label: EdgeLabel, memory: Memory): Drawing {
  const namespaces = new Set(g.nodes.map((n) => n.namespace).filter((x) => x && x !== "istio-system"));
  const several = namespaces.size > 1;
  const members = new Map<string, GraphNode[]>();
  for (const n of g.nodes) {
    if (n.parent) members.set(n.parent, [...(members.get(n.parent) ?? []), n]);
  }
  for (const [id, list] of members) if (list.length < 2) members.delete(id);

  const cards = new Map<string, DrawnNode>();
  const blockOf = new Map<string, string>();
  const blocks: Block[] = [];
  for (const n of g.nodes) {
    const boxed = n.parent && members.has(n.parent);
    const shown = boxed ? n : { ...n, parent: undefined };
    const subtitle = subtitleOf(shown, several);
    const width = Math.max(widthOf(titleOf(shown), subtitle), memory.widths.get(n.id) ?? 0);
    memory.widths.set(n.id, width);
    cards.set(n.id, { node: n, x: 0, y: 0, width, height: cardHeight, subtitle });
    blockOf.set(n.id, boxed ? n.parent! : n.id);
    if (!boxed) blocks.push({ id: n.id, width: cards.get(n.id)!.width, height: cardHeight, order: orderOf(n) });
  }
  for (const [id, list] of members) {
    list.sort((a, b) => titleOf(a).localeCompare(titleOf(b), "en", { numeric: true }));
    const title = list[0]!.app ?? id.split("/").pop()!;
    const width = Math.max(textWidth(title, 12.5, 600) + 40, ...list.map((n) => cards.get(n.id)!.width));
    for (const n of list) cards.get(n.id)!.width = width;
    blocks.push({ id, width: width + 2 * boxPadding, height: boxHead + list.length * (cardHeight + 8) - 8 + boxPadding, order: orderOf(list[0]!) });
  }
  const links = g.edges.map((e) => ({ source: blockOf.get(e.source)!, target: blockOf.get(e.target)! }));
  const gap = label === "none" ? 72 : 98;
  const shape = JSON.stringify([blocks, links, gap]);
  const placed = memory.placed && memory.shape === shape ? memory.placed : place(blocks, links, gap);
  memory.placed = placed;
  memory.shape = shape;

  const boxes: DrawnBox[] = [];
  for (const b of blocks) {
    const p = placed.blocks.get(b.id)!;
    const list = members.get(b.id);
    if (!list) {
      const c = cards.get(b.id)!;
      c.x = p.x - c.width / 2;
      c.y = p.y - c.height / 2;
      continue;
    }
    const x = p.x - b.width / 2, y = p.y - b.height / 2;
    boxes.push({ id: b.id, title: list[0]!.app ?? b.id.split("/").pop()!, namespace: list[0]!.namespace, x, y, width: b.width, height: b.height });
    list.forEach((n, i) => {
      const c = cards.get(n.id)!;
      c.x = x + boxPadding;
      c.y = y + boxHead + i * (cardHeight + 8);
    });
  }
  return { nodes: inReadingOrder([...cards.values()]), boxes, edges: edgesOf(g, cards, blockOf, placed.bends), width: placed.width, height: placed.height, namespaces: namespaces.size };
}

const kindOrder = { gateway: "0", unknown: "1", app: "2", service: "2", workload: "2", external: "3" };
const orderOf = (n: GraphNode) => kindOrder[n.kind] + "/" + (n.namespace ?? "") + "/" + (n.app ?? n.name) + "/" + (n.version ?? "") + n.id;

/** The order in which the tab key visits nodes: by column, from the top. */
function inReadingOrder(nodes: DrawnNode[]): DrawnNode[] {
  return nodes.sort((a, b) => Math.round(a.x / 60) - Math.round(b.x / 60) || a.y - b.y);
}

/** Ends of edges spread along the sides of their cards, in the order of their other ends. */
function edgesOf(g: Graph, cards: Map<string, DrawnNode>, blockOf: Map<string, string>, bends: Map<string, Point[]>): DrawnEdge[] {
  const edges: DrawnEdge[] = g.edges.flatMap((e) => {
    const from = cards.get(e.source), to = cards.get(e.target);
    if (!from || !to) return [];
    const s = blockOf.get(e.source)!, t = blockOf.get(e.target)!;
    const points = [...(bends.get(`${s}>${t}`) ?? [])];
    if (points.length > 1 && from.x > to.x) points.sort((a, b) => b.x - a.x);
    return [{ edge: e, from, to, bends: points, fromOffset: 0, toOffset: 0 }];
  });
  const spreadEnds = (key: (e: DrawnEdge) => DrawnNode, far: (e: DrawnEdge) => number, set: (e: DrawnEdge, v: number) => void) => {
    const groups = new Map<DrawnNode, DrawnEdge[]>();
    for (const e of edges) groups.set(key(e), [...(groups.get(key(e)) ?? []), e]);
    for (const [card, list] of groups) {
      list.sort((a, b) => far(a) - far(b));
      const step = Math.min(9, (card.height - 18) / Math.max(1, list.length - 1));
      list.forEach((e, i) => set(e, (i - (list.length - 1) / 2) * step));
    }
  };
  spreadEnds((e) => e.from, (e) => e.bends[0]?.y ?? e.to.y, (e, v) => (e.fromOffset = v));
  spreadEnds((e) => e.to, (e) => e.bends.at(-1)?.y ?? e.from.y, (e, v) => (e.toOffset = v));
  return edges;
}

/** What stands at an edge. */
export function edgeText(e: GraphEdge, label: EdgeLabel, total: number): string {
  const r = e.rates;
  const bytes = (r.bytesSent ?? 0) + (r.bytesReceived ?? 0);
  if (e.protocol === "tcp" && label !== "none") return bytes ? throughput(bytes) : "";
  switch (label) {
    case "rate": return r.rate ? number(r.rate) + " rps" : "";
    case "share": return r.rate && total ? share(r.rate / total) : "";
    case "errors": return r.rate ? share(r.errorShare) : "";
    case "p50": case "p95": case "p99": return r[label] !== undefined ? millis(r[label]) : "";
    case "throughput": return bytes ? throughput(bytes) : "";
    default: return "";
  }
}

/** The state of an edge, for its colour. */
export function edgeState(e: GraphEdge): "ok" | "warn" | "bad" | "tcp" | "idle" {
  const r = e.rates;
  if (e.protocol === "tcp") {
    if (r.rate > 0 && r.errorShare >= 0.1) return "bad";
    return (r.bytesSent ?? 0) + (r.bytesReceived ?? 0) + (r.connections ?? 0) > 0 ? "tcp" : "idle";
  }
  if (!r.rate) return "idle";
  return r.errorShare >= 0.1 ? "bad" : r.errorShare >= 0.001 ? "warn" : "ok";
}
