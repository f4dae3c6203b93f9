import { useState } from "preact/hooks";
import type { Proxy, Workload, WorkloadSummary } from "../api/types";
import { url } from "../api/client";
import { graphLink, serviceLink, split } from "../lib/links";
import { ago, clock, millis, number, plural, share } from "../lib/format";
import { useResource } from "../lib/resource";
import { param, setParams } from "../lib/router";
import { at, duration, ticks } from "../lib/time";
import { chartSpan } from "../graph/panel";
import { Badge, Empty, HealthMark, Notice, Pending, Search, Tabs } from "../parts/basics";
import { ChartView } from "../parts/chart";
import { Figures } from "../parts/figures";
import { Icon } from "../parts/icons";
import { errorTone } from "../parts/metrics";
import { Fold, Table } from "../parts/table";
import { Traffic } from "../parts/traffic";
import { Objects } from "./services";

const healthOrder = { failing: 0, degraded: 1, unknown: 2, idle: 3, healthy: 4 };

/** How far the proxies of a workload are. */
export function SyncMark({ w }: { w: WorkloadSummary }) {
  if (!w.proxies) return <Badge>no proxy</Badge>;
  const all = (w.synced ?? 0) === w.proxies;
  return <Badge tone={all ? "ok" : "warn"} icon={all ? "check" : "clock"}>{all ? "in force" : `${w.synced ?? 0} of ${w.proxies}`}</Badge>;
}

export function WorkloadsPage() {
  const [text, setText] = useState("");
  const { data, error } = useResource<WorkloadSummary[]>(url("api/workloads", { namespaces: param("ns"), duration: duration.value, at: at.value ?? undefined }), ticks.graph, ticks.proxies);
  if (!data) return <div class="page"><Pending error={error} what="workloads" /></div>;
  const rows = data.filter((w) => (w.name + "." + w.namespace).includes(text.toLowerCase()));
  return (
    <div class="page">
      <header>
        <p class="lead grow">{plural(data.length, "workload")}, {plural(data.reduce((n, w) => n + w.instances, 0), "pod")}</p>
        <Search label="Filter by name" value={text} onInput={setText} />
      </header>
      <section class="card">
        {rows.length === 0 ? <Empty icon="workload" title="No workload fits" /> : (
          <Table caption="Workloads" rows={rows} id={(w) => w.namespace + "/" + w.name} columns={[
            { key: "health", title: "Health", by: (w) => healthOrder[w.health], cell: (w) => <HealthMark health={w.health} /> },
            { key: "name", title: "Workload", by: (w) => w.name, cell: (w) => <><a class="main" href={`#/workloads/${w.namespace}/${w.name}`}>{w.name}</a> {w.gateway && <Badge icon="gateway">gateway</Badge>}</> },
            { key: "ns", title: "Namespace", by: (w) => w.namespace, cell: (w) => <span class="muted">{w.namespace}</span> },
            { key: "version", title: "Version", by: (w) => w.version ?? "", cell: (w) => w.version && <span class="tag">{w.version}</span> },
            { key: "pods", title: "Pods", num: true, by: (w) => w.ready, cell: (w) => `${w.ready} of ${w.instances}` },
            { key: "sync", title: "Configuration", by: (w) => (w.proxies ? (w.synced ?? 0) / w.proxies : 2), cell: (w) => <SyncMark w={w} /> },
            { key: "in", title: "Requests in", num: true, by: (w) => w.inbound?.rate ?? 0, cell: (w) => (w.inbound?.rate ? number(w.inbound.rate) + "/s" : "–") },
            { key: "errors", title: "Errors", num: true, by: (w) => w.inbound?.errorShare ?? 0, cell: (w) => (w.inbound?.rate ? <span class={"tone " + errorTone(w.inbound.errorShare)}>{share(w.inbound.errorShare)}</span> : "–") },
            { key: "p95", title: "p95", num: true, by: (w) => w.inbound?.p95 ?? 0, cell: (w) => millis(w.inbound?.p95) },
            { key: "out", title: "Requests out", num: true, by: (w) => w.outbound?.rate ?? 0, cell: (w) => (w.outbound?.rate ? number(w.outbound.rate) + "/s" : "–") },
          ]} />
        )}
      </section>
    </div>
  );
}

type Tab = "traffic" | "pods" | "config" | "proxies";

export function WorkloadPage({ namespace, name }: { namespace: string; name: string }) {
  const { data: w, error } = useResource<Workload>(url(`api/workloads/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`, { duration: chartSpan(), at: at.value ?? undefined }), ticks.graph, ticks.proxies);
  if (!w) return <div class="page"><Pending error={error} what="workload" /></div>;
  const tab = (param("tab") || "traffic") as Tab;
  return (
    <div class="page">
      <header>
        <div class="grow">
          <div class="row wrap"><h2 style="font-size:20px">{w.name}</h2><HealthMark health={w.health} />{w.gateway && <Badge icon="gateway">gateway</Badge>}<SyncMark w={w} /></div>
          <p class="lead">{w.identity ? <code>{w.identity}</code> : w.namespace}</p>
        </div>
        <a class="button" href={graphLink(`${w.gateway ? "gateway" : "workload"}/${w.namespace}/${w.name}`, "workload")}><Icon name="graph" />In the graph</a>
      </header>
      <div class="stack">
        <Figures rates={(w.gateway ? w.outbound : w.inbound) ?? { rate: 0, errorShare: 0 }}><div class="figure"><dt>Pods ready</dt><dd>{w.ready}<small>of {w.instances}</small></dd></div></Figures>
        <div>
          <Tabs label="Parts of the workload" value={tab} onChange={(t) => setParams({ tab: t === "traffic" ? undefined : t })}
            tabs={[["traffic", "Traffic"], ["pods", `Pods (${w.pods.length})`], ["config", `Configuration (${w.objects.length})`], ["proxies", `Proxies (${w.proxyStates.length})`]]}>
            {tab === "traffic" && (
              <div class="stack">
                <div class="cards wide">{w.charts.filter((c) => c.lines.length > 0).map((c) => <section key={c.id} class="card"><div class="body"><ChartView chart={c} /></div></section>)}</div>
                <Traffic title="Traffic" edges={w.edges} />
              </div>
            )}
            {tab === "pods" && <Pods w={w} />}
            {tab === "config" && <Objects refs={w.objects} what="workload" />}
            {tab === "proxies" && (w.proxyStates.length === 0 ? <section class="card"><Empty icon="mesh" title="No proxy is connected"><p>Requests to and from this workload are neither routed nor secured by the mesh.</p></Empty></section> : <div class="stack">{w.proxyStates.map((p) => <ProxyCard key={p.name} proxy={p} />)}</div>)}
          </Tabs>
        </div>
      </div>
    </div>
  );
}

function Pods({ w }: { w: Workload }) {
  return (
    <div class="stack">
      <section class="card">
        <Table caption="Pods" rows={w.pods} id={(p) => p.name} columns={[
          { key: "ready", title: "State", by: (p) => Number(p.ready), cell: (p) => <Badge tone={p.ready ? "ok" : "warn"}>{p.ready ? "Ready" : "Not ready"}</Badge> },
          { key: "name", title: "Pod", by: (p) => p.name, cell: (p) => p.name },
          { key: "address", title: "Address", by: (p) => p.address, cell: (p) => <code>{p.address}</code> },
          { key: "sa", title: "Service account", by: (p) => p.serviceAccount ?? "", cell: (p) => <span class="muted">{p.serviceAccount}</span> },
          { key: "zone", title: "Place", cell: (p) => <span class="muted">{[p.region, p.zone].filter(Boolean).join("/") || "–"}</span> },
          { key: "proxy", title: "Proxy", cell: (p) => (p.proxy ? <span class="mono small">{p.proxy}</span> : <Badge>none</Badge>) },
        ]} />
      </section>
      <div class="cards">
        <section class="card"><header><h2>Labels</h2></header><div class="body row wrap">{Object.entries(w.labels ?? {}).map(([k, v]) => <span key={k} class="tag">{k}={v}</span>)}</div></section>
        <section class="card"><header><h2>Services</h2></header><div class="body stack tight">{(w.services ?? []).map((s) => { const [ns, n] = split(s); return <a key={s} href={serviceLink(ns, n)}>{n} <span class="faint small">{ns}</span></a>; })}{!w.services?.length && <span class="muted">No service selects it.</span>}</div></section>
      </div>
    </div>
  );
}

const states: Record<string, "ok" | "warn" | "bad" | ""> = { SYNCED: "ok", STALE: "warn", NACK: "bad", "NOT SENT": "" };
const typeNames: Record<string, string> = { cds: "Clusters", eds: "Endpoints", lds: "Listeners", rds: "Routes", sds: "Secrets", nds: "Names", ecds: "Extensions" };

/** One proxy: what it has of each type, and what it refuses. */
export function ProxyCard({ proxy: p }: { proxy: Proxy }) {
  const now = Date.now() / 1000;
  const time = (t?: string) => (t ? Date.parse(t) / 1000 : undefined);
  return (
    <section class="card">
      <header class="row wrap">
        <h2 class="mono" style="font-size:13.5px">{p.name}</h2>
        <Badge>{p.dataPlane}{p.version ? " " + p.version : ""}</Badge>
        <span class="grow" />
        <span class="muted small">connected {ago(time(p.since), now)}</span>
        {p.revision >= p.offered && !p.refusals?.length && !p.waiting ? <Badge tone="ok" icon="check">everything in force</Badge> : <Badge tone="warn" icon="clock">revision {p.revision} of {p.offered}</Badge>}
      </header>
      <div class="body stack tight">
        {p.refusals?.map((r) => <Notice key={r} tone="bad">Refused: {r}</Notice>)}
        {p.waiting && <Notice>Waiting: {p.waiting}</Notice>}
        <Table caption={`Resources of ${p.name}`} rows={Object.entries(p.types)} id={([t]) => t} columns={[
          { key: "type", title: "Type", cell: ([t]) => <>{typeNames[t] ?? t} <span class="faint small">{t}</span></> },
          { key: "state", title: "State", cell: ([, x]) => <Badge tone={states[x.state] ?? ""}>{x.state}</Badge> },
          { key: "n", title: "Resources", num: true, cell: ([, x]) => x.resources },
          { key: "sent", title: "Sent", cell: ([, x]) => <span class="muted">{clock(time(x.lastSent))}</span> },
          { key: "ack", title: "Answered", cell: ([, x]) => <span class="muted">{clock(time(x.lastAck))}</span> },
        ]} />
        <Fold title="Identity and raw configuration">
          <dl class="pairs small">
            <dt>Node</dt><dd class="mono">{p.node}</dd>
            {p.identity && <><dt>Identity</dt><dd class="mono">{p.identity}</dd></>}
            {p.agent && <><dt>Agent</dt><dd>{p.agent}</dd></>}
            <dt>Configuration</dt><dd><a href={`api/proxies/${encodeURIComponent(p.name)}/config`} target="_blank" rel="noopener">as JSON, in the form of /config_dump</a></dd>
          </dl>
        </Fold>
      </div>
    </section>
  );
}
