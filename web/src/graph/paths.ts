// The curves of edges: chains of Bézier curves that leave to the right and arrive
// from the left.
import type { DrawnEdge } from "./model";
import type { Point } from "./layout";

export type Curve = [Point, Point, Point, Point];

const arrow = 7;

/** The curves of an edge, from its caller to the tip of its arrow. */
export function curves(e: DrawnEdge): Curve[] {
  const start = { x: e.from.x + e.from.width, y: e.from.y + e.from.height / 2 + e.fromOffset };
  const end = { x: e.to.x - arrow, y: e.to.y + e.to.height / 2 + e.toOffset };
  if (e.from === e.to) { // a loop over the card
    const top = e.from.y - 26;
    const a = { x: e.from.x + e.from.width * 0.7, y: e.from.y };
    const b = { x: e.from.x + e.from.width * 0.3, y: e.from.y - arrow };
    return [[a, { x: a.x + 22, y: top }, { x: b.x - 22, y: top }, b]];
  }
  const points = [start, ...e.bends, end];
  const out: Curve[] = [];
  for (let i = 0; i + 1 < points.length; i++) {
    const a = points[i]!, b = points[i + 1]!;
    const back = b.x < a.x + 20;
    const pull = back ? Math.max(90, (a.x - b.x) * 0.4) : Math.max(24, (b.x - a.x) * 0.46);
    const lift = back && Math.abs(a.y - b.y) < 60 ? 90 : 0; // over what lies between
    out.push([a, { x: a.x + pull, y: a.y - lift }, { x: b.x - pull, y: b.y - lift }, b]);
  }
  return out;
}

/** The attribute d of an SVG path. */
export function pathOf(list: Curve[]): string {
  const p = (q: Point) => `${q.x.toFixed(1)} ${q.y.toFixed(1)}`;
  return `M${p(list[0]![0])}` + list.map(([, b, c, d]) => `C${p(b)} ${p(c)} ${p(d)}`).join("");
}

/** A point of a chain of curves; t runs from 0 to 1 over the whole chain. */
export function along(list: Curve[], t: number): Point {
  const s = Math.min(list.length - 1e-6, Math.max(0, t * list.length));
  const [a, b, c, d] = list[Math.floor(s)]!;
  const u = s - Math.floor(s), v = 1 - u;
  const k = [v * v * v, 3 * v * v * u, 3 * v * u * u, u * u * u] as const;
  return { x: k[0] * a.x + k[1] * b.x + k[2] * c.x + k[3] * d.x, y: k[0] * a.y + k[1] * b.y + k[2] * c.y + k[3] * d.y };
}

/** About how long a chain is. */
export function lengthOf(list: Curve[]): number {
  let n = 0, last = along(list, 0);
  for (let i = 1; i <= 12; i++) {
    const p = along(list, i / 12);
    n += Math.hypot(p.x - last.x, p.y - last.y);
    last = p;
  }
  return n;
}
