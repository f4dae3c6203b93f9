import { useState } from "preact/hooks";
import type { Span, Trace, TraceSummary } from "../api/types";
import { url } from "../api/client";
import { clock, millis, plural } from "../lib/format";
import { useResource } from "../lib/resource";
import { href, param, setParams } from "../lib/router";
import { at, duration, ticks } from "../lib/time";
import { Badge, Empty, Pending, Search } from "../parts/basics";
import { Table } from "../parts/table";

export function TracesPage() {
  const [text, setText] = useState(param("q"));
  const { data, error, loading } = useResource<TraceSummary[]>(url("api/traces", { duration: duration.value, at: at.value ?? undefined, service: param("service") }), ticks.graph);
  if (error && (error.status === 404 || error.status === 501)) {
    return (
      <div class="page">
        <section class="card">
          <Empty icon="traces" title="No traces are collected here">
            <p>Proxies send spans where a Telemetry object tells them to: to Zipkin or an OpenTelemetry collector. This control plane keeps none itself{error.status === 501 && error.message ? `: ${error.message}` : "."}</p>
          </Empty>
        </section>
      </div>
    );
  }
  if (loading || !data) return <div class="page"><Pending error={error} what="traces" /></div>;
  const rows = data.filter((t) => `${t.id} ${t.root} ${t.name} ${t.services.join(" ")}`.toLowerCase().includes(text.toLowerCase()));
  const slowest = Math.max(1, ...rows.map((t) => t.durationMs));
  return (
    <div class="page">
      <header>
        <p class="lead grow">{plural(rows.length, "trace")}</p>
        <Search label="Filter by service or operation" value={text} onInput={(v) => { setText(v); setParams({ q: v || undefined }); }} />
      </header>
      <section class="card">
        {rows.length === 0 ? <Empty icon="traces" title="No traces in this time"><p>Of the requests in this time none was sampled, or none fits the filter.</p></Empty> : (
          <Table caption="Traces" rows={rows} id={(t) => t.id} columns={[
            { key: "name", title: "Request", by: (t) => t.root + t.name, cell: (t) => <><a class="main" href={href(["traces", t.id])}>{t.root}</a> <span class="muted">{t.name}</span> {t.error && <Badge tone="bad">error</Badge>}</> },
            { key: "duration", title: "Duration", num: true, by: (t) => t.durationMs, cell: (t) => <span class="row" style="justify-content:flex-end"><span class="bar" style="width:110px"><i class={t.error ? "bad" : "accent"} style={`width:${(t.durationMs / slowest) * 100}%`} /></span><span style="width:64px">{millis(t.durationMs)}</span></span> },
            { key: "spans", title: "Spans", num: true, by: (t) => t.spans, cell: (t) => t.spans },
            { key: "services", title: "Services", cell: (t) => <span class="row wrap" style="gap:5px">{t.services.map((s) => <span key={s} class="tag">{s}</span>)}</span> },
            { key: "start", title: "Began", by: (t) => t.start, cell: (t) => <span class="muted nowrap">{clock(t.start)}</span> },
            { key: "id", title: "Trace", cell: (t) => <code class="faint small">{t.id.slice(0, 12)}</code> },
          ]} />
        )}
      </section>
    </div>
  );
}

interface Row { span: Span; depth: number }

/** Spans in the order of a tree; those whose parent is missing begin trees of their own. */
function tree(spans: Span[]): Row[] {
  const ids = new Set(spans.map((s) => s.id));
  const children = new Map<string, Span[]>();
  for (const s of spans) {
    const key = s.parent && ids.has(s.parent) ? s.parent : "";
    children.set(key, [...(children.get(key) ?? []), s]);
  }
  const out: Row[] = [];
  const walk = (key: string, depth: number) => {
    for (const span of (children.get(key) ?? []).sort((a, b) => a.start - b.start)) {
      out.push({ span, depth });
      walk(span.id, depth + 1);
    }
  };
  walk("", 0);
  return out;
}

export function TracePage({ id }: { id: string }) {
  const { data, error } = useResource<Trace>(`api/traces/${encodeURIComponent(id)}`);
  const [open, setOpen] = useState("");
  if (!data) return <div class="page"><Pending error={error} what="trace" /></div>;
  const rows = tree(data.spans);
  const start = Math.min(...data.spans.map((s) => s.start));
  const length = Math.max(0.001, ...data.spans.map((s) => (s.start - start) * 1000 + s.durationMs));
  const services = [...new Set(rows.map((r) => r.span.service))];
  const ticksAt = [0, 0.25, 0.5, 0.75, 1];
  return (
    <div class="page">
      <header>
        <p class="lead grow">{millis(length)} · {plural(rows.length, "span")} · {plural(services.length, "service")} · {clock(start)} · <code>{id}</code></p>
      </header>
      <section class="card flame" role="tree" aria-label="Spans">
        <div class="flamehead" aria-hidden="true"><span /><span class="scale">{ticksAt.map((t) => <i key={t} style={`left:${t * 100}%`}>{millis(t * length)}</i>)}</span></div>
        {rows.map(({ span, depth }) => {
          const left = ((span.start - start) * 1000 / length) * 100, width = Math.max(0.3, (span.durationMs / length) * 100);
          const hue = `var(--series-${[1, 2, 3, 5, 6][services.indexOf(span.service) % 5]})`; // 4 is the red of errors
          return (
            <div key={span.id} role="treeitem" aria-level={depth + 1} aria-expanded={open === span.id} class={"span" + (open === span.id ? " open" : "")}>
              <button type="button" onClick={() => setOpen(open === span.id ? "" : span.id)} aria-label={`${span.service} ${span.name}, ${millis(span.durationMs)}${span.error ? ", error" : ""}`}>
                <span class="who" style={`padding-left:${depth * 14}px`}><i style={`background:${hue}`} /><strong>{span.service}</strong> <span class="muted">{span.name}</span>{span.kind && <span class="faint small"> {span.kind}</span>}</span>
                <span class="lane"><i class={span.error ? "bad" : ""} style={`left:${left}%;width:${width}%;${span.error ? "" : `background:${hue}`}`} /><em class={left + width > 88 && width > 12 ? "in" : ""} style={left + width <= 88 ? `left:${left + width + 0.6}%` : width > 12 ? `right:${100 - left - width + 0.6}%` : `right:${100 - left + 0.6}%`}>{millis(span.durationMs)}</em></span>
              </button>
              {open === span.id && <dl class="pairs small">{Object.entries(span.tags ?? {}).map(([k, v]) => <><dt class="mono">{k}</dt><dd class="mono">{v}</dd></>)}{Object.keys(span.tags ?? {}).length === 0 && <dd class="muted">No tags</dd>}</dl>}
            </div>
          );
        })}
      </section>
    </div>
  );
}
