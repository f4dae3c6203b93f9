import { useState } from "preact/hooks";
import type { Service, ServiceSummary } from "../api/types";
import { url } from "../api/client";
import { graphLink, objectLink, serviceLink, workloadLink } from "../lib/links";
import { millis, number, plural, share } from "../lib/format";
import { useResource } from "../lib/resource";
import { param, setParams } from "../lib/router";
import { at, duration, ticks } from "../lib/time";
import { chartSpan } from "../graph/panel";
import { Badge, Empty, HealthMark, Pending, Search, Tabs, Verdict } from "../parts/basics";
import { ChartView } from "../parts/chart";
import { Icon } from "../parts/icons";
import { Codes, errorTone } from "../parts/metrics";
import { Table } from "../parts/table";
import { Traffic } from "../parts/traffic";
import { WizardMenu } from "../wizards/menu";
import { Figures } from "../parts/figures";

const healthOrder = { failing: 0, degraded: 1, unknown: 2, idle: 3, healthy: 4 };

export function ServicesPage() {
  const [text, setText] = useState("");
  const { data, error } = useResource<ServiceSummary[]>(url("api/services", { namespaces: param("ns"), duration: duration.value, at: at.value ?? undefined }), ticks.graph, ticks.objects);
  if (!data) return <div class="page"><Pending error={error} what="services" /></div>;
  const rows = data.filter((s) => (s.name + "." + s.namespace + " " + s.host).includes(text.toLowerCase()));
  const healths = (["failing", "degraded", "healthy", "idle"] as const).map((h) => [h, data.filter((s) => s.health === h).length] as const).filter(([, n]) => n > 0);
  return (
    <div class="page">
      <header>
        <div class="grow">
          <p class="lead">{plural(data.length, "service")}{healths.map(([h, n]) => `, ${n} ${h}`).join("")}</p>
        </div>
        <Search label="Filter by name or host" value={text} onInput={setText} />
      </header>
      <section class="card">
        {rows.length === 0 ? <Empty icon="service" title={data.length === 0 ? "No services" : "No service fits"} /> : (
          <Table caption="Services" rows={rows} id={(s) => s.namespace + "/" + s.name} columns={[
            { key: "health", title: "Health", by: (s) => healthOrder[s.health], cell: (s) => <HealthMark health={s.health} /> },
            { key: "name", title: "Service", by: (s) => s.name, cell: (s) => <><a class="main" href={serviceLink(s.namespace, s.name)}>{s.name}</a> {s.external && <Badge icon="external">external</Badge>}</> },
            { key: "ns", title: "Namespace", by: (s) => s.namespace, cell: (s) => <span class="muted">{s.namespace}</span> },
            { key: "ports", title: "Ports", cell: (s) => <span class="muted small">{s.ports.map((p) => `${p.number} ${p.protocol}`).join(", ")}</span> },
            { key: "ready", title: "Endpoints", num: true, by: (s) => s.ready, cell: (s) => <span class={s.ready < s.endpoints || s.endpoints === 0 ? "muted" : ""}>{s.ready} of {s.endpoints}</span> },
            { key: "rate", title: "Requests", num: true, by: (s) => s.inbound.rate, cell: (s) => (s.inbound.rate ? number(s.inbound.rate) + "/s" : "–") },
            { key: "errors", title: "Errors", num: true, by: (s) => s.inbound.errorShare, cell: (s) => (s.inbound.rate ? <span class={"tone " + errorTone(s.inbound.errorShare)}>{share(s.inbound.errorShare)}</span> : "–") },
            { key: "p95", title: "p95", num: true, by: (s) => s.inbound.p95 ?? 0, cell: (s) => millis(s.inbound.p95) },
          ]} />
        )}
      </section>
    </div>
  );
}

type Tab = "traffic" | "endpoints" | "config";

export function ServicePage({ namespace, name }: { namespace: string; name: string }) {
  const { data: s, error } = useResource<Service>(url(`api/services/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`, { duration: chartSpan(), at: at.value ?? undefined }), ticks.graph, ticks.objects);
  if (!s) return <div class="page"><Pending error={error} what="service" /></div>;
  const tab = (param("tab") || "traffic") as Tab;
  return (
    <div class="page">
      <header>
        <div class="grow">
          <div class="row"><h2 style="font-size:20px">{s.name}</h2><HealthMark health={s.health} />{s.external && <Badge icon="external">external</Badge>}</div>
          <p class="lead"><code>{s.host}</code>{s.address && <> · {s.address}</>} · {s.ports.map((p) => `${p.number} ${p.protocol}`).join(", ")}</p>
        </div>
        <a class="button" href={graphLink(`service/${s.namespace}/${s.name}`, "service")}><Icon name="graph" />In the graph</a>
        <WizardMenu service={`${s.namespace}/${s.name}`} />
      </header>
      <div class="stack">
        <Figures rates={s.inbound}><div class="figure"><dt>Endpoints ready</dt><dd>{s.ready}<small>of {s.endpoints}</small></dd></div></Figures>
        <div>
          <Tabs label="Parts of the service" value={tab} onChange={(t) => setParams({ tab: t === "traffic" ? undefined : t })} tabs={[["traffic", "Traffic"], ["endpoints", `Endpoints (${s.instances.length})`], ["config", `Configuration (${s.objects.length})`]]}>
            {tab === "traffic" && (
              <div class="stack">
                {s.inbound.codes && Object.keys(s.inbound.codes).length > 0 && <section class="card"><header><h2>Answers</h2></header><div class="body"><Codes rates={s.inbound} /></div></section>}
                <div class="cards wide">{s.charts.map((c) => <section key={c.id} class="card"><div class="body"><ChartView chart={c} /></div></section>)}</div>
                <Traffic title="Who calls it, and who answers" edges={s.edges} />
              </div>
            )}
            {tab === "endpoints" && (
              <section class="card">
                {s.instances.length === 0 ? <Empty icon="workload" title="No endpoints"><p>No pod of the mesh is selected by this service; requests to it are answered with 503.</p></Empty> : (
                  <Table caption="Endpoints" rows={s.instances} id={(i) => i.name + i.address + i.port} columns={[
                    { key: "ready", title: "State", by: (i) => Number(i.ready), cell: (i) => <Badge tone={i.ready ? "ok" : "warn"}>{i.ready ? "Ready" : "Not ready"}</Badge> },
                    { key: "name", title: "Pod", by: (i) => i.name, cell: (i) => i.name || <span class="faint">–</span> },
                    { key: "workload", title: "Workload", by: (i) => i.workload ?? "", cell: (i) => i.workload && <a href={workloadLink(i.namespace, i.workload)}>{i.workload}</a> },
                    { key: "version", title: "Version", by: (i) => i.version ?? "", cell: (i) => i.version && <span class="tag">{i.version}</span> },
                    { key: "address", title: "Address", by: (i) => i.address, cell: (i) => <code>{i.address}{i.port ? ":" + i.port : ""}</code> },
                    { key: "zone", title: "Place", by: (i) => i.zone ?? "", cell: (i) => <span class="muted">{[i.region, i.zone].filter(Boolean).join("/") || "–"}</span> },
                    { key: "proxy", title: "Proxy", cell: (i) => (i.proxy ? <Badge tone="ok" icon="lock">in the mesh</Badge> : <Badge>none</Badge>) },
                  ]} />
                )}
              </section>
            )}
            {tab === "config" && <Objects refs={s.objects} what="service" />}
          </Tabs>
        </div>
      </div>
    </div>
  );
}

export function Objects({ refs, what }: { refs: Service["objects"]; what: string }) {
  return (
    <section class="card">
      {refs.length === 0 ? <Empty icon="config" title={`No object concerns this ${what}`}><p>It runs on the mesh's defaults.</p></Empty> : (
        <Table caption="Objects" rows={refs} id={(r) => r.kind + "/" + r.namespace + "/" + r.name} columns={[
          { key: "verdict", title: "Verdict", by: (r) => r.verdict ?? "", cell: (r) => r.verdict && <Verdict code={r.verdict} /> },
          { key: "kind", title: "Kind", by: (r) => r.kind, cell: (r) => <span class="muted">{r.kind}</span> },
          { key: "name", title: "Name", by: (r) => r.name, cell: (r) => <a class="main" href={objectLink(r)}>{r.name}</a> },
          { key: "ns", title: "Namespace", by: (r) => r.namespace ?? "", cell: (r) => <span class="muted">{r.namespace}</span> },
        ]} />
      )}
    </section>
  );
}
