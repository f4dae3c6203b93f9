import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Chart } from "../api/types";
import { color, dark } from "../lib/theme";
import { millis, number, throughput } from "../lib/format";

const titles: Record<string, string> = {
  "inbound-rate": "Requests in", "outbound-rate": "Requests out", "inbound-latency": "Latency in", "outbound-latency": "Latency out",
  "inbound-bytes": "Throughput in", "outbound-bytes": "Throughput out", "inbound-sources": "Callers", "outbound-targets": "Called services",
};

/** Colours that carry meaning; other lines take the series' colours in turn. */
const meaning: Record<string, string> = {
  "2xx": "edge-ok", "3xx": "series-2", "4xx": "edge-warn", "5xx": "edge-bad", none: "edge-bad", "grpc-ok": "edge-ok", "grpc-error": "edge-bad",
  p50: "series-1", p95: "series-2", p99: "series-3", sent: "series-1", received: "series-2", errors: "edge-bad", requests: "series-1",
};

export function lineColor(name: string, i: number): string {
  return color(meaning[name] ?? `series-${(i % 5) + 1}`);
}

const formats = {
  "per second": (v: number | null | undefined) => (v == null ? "–" : number(v) + "/s"),
  milliseconds: (v: number | null | undefined) => millis(v),
  "bytes per second": (v: number | null | undefined) => (v == null ? "–" : throughput(v)),
};

function options(chart: Chart, width: number, height: number): uPlot.Options {
  const text = formats[chart.unit];
  const axis = { stroke: color("muted"), grid: { stroke: color("grid"), width: 1 }, ticks: { show: false }, font: `11px ${getComputedStyle(document.body).fontFamily}` };
  return {
    width, height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, sync: { key: "lateen" } },
    scales: { y: { range: (_u, _min, max) => [0, Math.max(max * 1.12, 1e-9) || 1] } },
    axes: [
      { ...axis, space: 70, size: 26, values: (_u, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString("en-GB", ticks.length > 1 && ticks[1]! - ticks[0]! < 60 ? {} : { hour: "2-digit", minute: "2-digit" })) },
      { ...axis, size: 58, space: 34, values: (_u, ticks) => ticks.map((t) => text(t)) },
    ],
    series: [
      {},
      ...chart.lines.map((l, i) => {
        const stroke = lineColor(l.name, i);
        return { label: l.name, stroke, width: 1.75, fill: i === 0 || chart.unit === "per second" ? stroke + "14" : undefined, points: { show: false }, spanGaps: false };
      }),
    ],
  };
}

/** One chart with its title and a legend that shows the newest values, or those under the pointer. */
export function ChartView({ chart, height = 170, title }: { chart: Chart; height?: number; title?: string }) {
  const box = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const isDark = dark.value;
  const names = chart.lines.map((l) => l.name).join("\n");
  const data = [chart.times, ...chart.lines.map((l) => l.values)] as uPlot.AlignedData;
  const text = formats[chart.unit];

  useEffect(() => {
    const el = box.current!;
    const show = (u: uPlot) => {
      const values = legend.current?.querySelectorAll("b");
      const at = u.cursor.idx ?? undefined;
      u.series.slice(1).forEach((_s, i) => {
        const column = u.data[i + 1]!;
        const v = at !== undefined ? column[at] : last(column);
        if (values?.[i]) values[i].textContent = text(v);
      });
    };
    const o = options(chart, el.clientWidth || 400, height);
    o.hooks = { setCursor: [show], setData: [show], ready: [show] };
    const u = new uPlot(o, data, el);
    plot.current = u;
    const resize = new ResizeObserver(() => { if (el.clientWidth) u.setSize({ width: el.clientWidth, height }); });
    resize.observe(el);
    return () => { resize.disconnect(); u.destroy(); plot.current = undefined; };
  }, [names, chart.unit, isDark, height]);
  useEffect(() => plot.current?.setData(data), [chart]);

  const label = title ?? titles[chart.id] ?? chart.id;
  const sum = chart.lines.map((l) => `${l.name} ${text(last(l.values))}`).join(", ");
  return (
    <figure class="chart" role="img" aria-label={`${label}: ${sum || "no data"}`}>
      <figcaption class="row apart"><h3>{label}</h3></figcaption>
      <div ref={box} style={`height:${height}px`} />
      <div class="legend" ref={legend} aria-hidden="true">
        {chart.lines.map((l, i) => <span key={l.name}><i style={`background:${lineColor(l.name, i)}`} />{l.name}<b /></span>)}
        {chart.lines.length === 0 && <span>No traffic in this time</span>}
      </div>
    </figure>
  );
}

function last(values: ArrayLike<number | null | undefined>): number | null | undefined {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] != null) return values[i];
  return null;
}
