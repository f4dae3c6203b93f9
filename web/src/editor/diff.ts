// The difference of two texts by lines (Myers' greedy algorithm).

export interface DiffLine { kind: "same" | "add" | "drop"; text: string; old?: number; new?: number }

export function diff(a: string, b: string): DiffLine[] {
  const x = split(a), y = split(b);
  const trace: Map<number, number>[] = [];
  const v = new Map<number, number>([[1, 0]]);
  search: for (let d = 0; d <= x.length + y.length; d++) {
    trace.push(new Map(v));
    for (let k = -d; k <= d; k += 2) {
      let i = k === -d || (k !== d && (v.get(k - 1) ?? -1) < (v.get(k + 1) ?? -1)) ? v.get(k + 1) ?? 0 : (v.get(k - 1) ?? 0) + 1;
      let j = i - k;
      while (i < x.length && j < y.length && x[i] === y[j]) { i++; j++; }
      v.set(k, i);
      if (i >= x.length && j >= y.length) break search;
    }
  }
  const out: DiffLine[] = [];
  let i = x.length, j = y.length;
  for (let d = trace.length - 1; d >= 0; d--) {
    const w = trace[d]!;
    const k = i - j;
    const from = k === -d || (k !== d && (w.get(k - 1) ?? -1) < (w.get(k + 1) ?? -1)) ? k + 1 : k - 1;
    const pi = w.get(from) ?? 0, pj = pi - from;
    while (i > pi && j > pj && i > 0 && j > 0) { i--; j--; out.push({ kind: "same", text: x[i]!, old: i + 1, new: j + 1 }); }
    if (d > 0) {
      if (i === pi) { j--; out.push({ kind: "add", text: y[j]!, new: j + 1 }); }
      else { i--; out.push({ kind: "drop", text: x[i]!, old: i + 1 }); }
    }
  }
  return out.reverse();
}

const split = (t: string) => (t === "" ? [] : t.replace(/\n$/, "").split("\n"));

/** Keeps what changed with a few lines around it; null stands for what is left out. */
export function hunks(lines: DiffLine[], around = 3): (DiffLine | null)[] {
  const keep = lines.map((_, i) => lines.slice(Math.max(0, i - around), i + around + 1).some((l) => l.kind !== "same"));
  const out: (DiffLine | null)[] = [];
  lines.forEach((l, i) => {
    if (keep[i]) out.push(l);
    else if (out.at(-1) !== null) out.push(null);
  });
  return out;
}
