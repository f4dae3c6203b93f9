// Numbers and times as people read them.

// One formatter for each number of digits: to make one costs more than all it writes.
const writers = [0, 1, 2].map((n) => new Intl.NumberFormat("en-GB", { maximumFractionDigits: n, minimumFractionDigits: 0 }));
const digits = (v: number, n: 0 | 1 | 2) => writers[n]!.format(v);

/** A rate of requests: "12.4 rps", "3.1k rps". */
export function rate(v: number | undefined): string {
  if (v === undefined) return "–";
  return number(v) + " rps";
}

/** A number with about three digits: "0.42", "12.4", "3.1k". */
export function number(v: number): string {
  if (v === 0) return "0";
  if (v < 0.01) return "<0.01";
  if (v < 10) return digits(v, 2);
  if (v < 100) return digits(v, 1);
  if (v < 1000) return digits(v, 0);
  if (v < 1e6) return digits(v / 1e3, 1) + "k";
  return digits(v / 1e6, 1) + "M";
}

/** A share of one as per cent: "0 %", "0.4 %", "12 %". */
export function share(v: number | undefined): string {
  if (v === undefined) return "–";
  const p = v * 100;
  if (p === 0) return "0 %";
  if (p < 0.1) return "<0.1 %";
  return digits(p, p < 10 ? 1 : 0) + " %";
}

/** Milliseconds: "0.8 ms", "12 ms", "1.4 s". */
export function millis(v: number | undefined | null): string {
  if (v === undefined || v === null) return "–";
  if (v < 10) return digits(v, 1) + " ms";
  if (v < 1000) return digits(v, 0) + " ms";
  return digits(v / 1000, v < 10000 ? 2 : 1) + " s";
}

/** Bytes: "0 B", "12 kB". */
export function bytes(v: number | undefined): string {
  if (v === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (v >= 1000 && i < units.length - 1) { v /= 1000; i++; }
  return digits(v, v < 10 && i > 0 ? 1 : 0) + " " + units[i];
}

export const throughput = (v: number | undefined) => (v === undefined ? "–" : bytes(v) + "/s");

/** A point in time of the last days: "14:03:12", with the date if it is not today's. */
export function clock(seconds: number | undefined): string {
  if (!seconds) return "–";
  const d = new Date(seconds * 1000);
  const time = d.toLocaleTimeString("en-GB");
  return d.toDateString() === new Date().toDateString() ? time : d.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" }) + " " + time;
}

/** A stretch of time in its two largest units: "3 d 4 h", "42 s". */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const units: [number, string][] = [[86400 * 365, "y"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const i = units.findIndex(([n]) => s >= n);
  if (i < 0) return "0 s";
  const [n, name] = units[i]!;
  const first = Math.floor(s / n);
  const next = units[i + 1];
  const second = next ? Math.floor((s % n) / next[0]) : 0;
  return `${first} ${name}` + (next && second > 0 && first < 10 ? ` ${second} ${next[1]}` : "");
}

/** How long ago: "12 s ago". */
export function ago(seconds: number | undefined, now = Date.now() / 1000): string {
  if (!seconds) return "–";
  const d = now - seconds;
  return d < 2 ? "just now" : span(d) + " ago";
}

export const plural = (n: number, one: string, many = one + "s") => `${n} ${n === 1 ? one : many}`;
