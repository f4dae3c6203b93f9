// What stretch of time the pages show, and when they read again.
import { computed, signal } from "@preact/signals";
import { param, setParams } from "./router";

export const ranges: [string, string][] = [
  ["30s", "Last 30 s"], ["60s", "Last minute"], ["5m", "Last 5 min"], ["10m", "Last 10 min"], ["30m", "Last 30 min"], ["1h", "Last hour"], ["3h", "Last 3 h"], ["6h", "Last 6 h"],
];

/** The stretch as a Go duration. */
export const duration = computed(() => param("range") || "60s");

/** Seconds of a duration such as "5m". */
export function secondsOf(text: string): number {
  const m = /^(\d+(?:\.\d+)?)(s|m|h)$/.exec(text);
  return m ? Number(m[1]) * { s: 1, m: 60, h: 3600 }[m[2] as "s" | "m" | "h"] : 60;
}

export function setDuration(d: string) {
  setParams({ range: d === "60s" ? undefined : d });
}

/** The end of the stretch in seconds since 1970; null is now. */
export const at = signal<number | null>(null);

/** Whether new numbers are shown when they come. */
export const paused = signal(false);

/** Pauses at this moment, or goes on from now. */
export function setPaused(p: boolean) {
  paused.value = p;
  at.value = p ? Math.round(Date.now() / 1000) : null;
}

/** Counters that grow when something changed on the server: who read them reads again. */
export const ticks = { graph: signal(0), objects: signal(0), proxies: signal(0) };

/** State of the connection to the console. */
export const connection = signal<"connecting" | "live" | "lost">("connecting");

/** Listens to the server's events, and falls back to a clock where there are none. */
export function listen() {
  const source = new EventSource("api/events");
  let last = 0;
  const bump = (...names: (keyof typeof ticks)[]) => {
    for (const n of names) ticks[n].value++;
    if (names.includes("graph")) last = Date.now();
  };
  source.onopen = () => (connection.value = "live");
  source.onerror = () => (connection.value = "lost");
  source.addEventListener("hello", () => bump("graph", "objects", "proxies"));
  source.addEventListener("graph", () => bump("graph"));
  source.addEventListener("objects", () => bump("objects"));
  source.addEventListener("proxies", () => bump("proxies"));
  // Rates fall to zero when nothing is reported any more: read again all the same.
  setInterval(() => {
    if (!paused.value && Date.now() - last > 9000 && !document.hidden) bump("graph");
  }, 5000);
}
