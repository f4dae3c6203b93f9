import { useState } from "preact/hooks";
import type { Certificate, Mesh, Proxy } from "../api/types";
import { ago, bytes, clock, number, plural, span } from "../lib/format";
import { useResource } from "../lib/resource";
import { href } from "../lib/router";
import { ticks } from "../lib/time";
import { Badge, Empty, Notice, Pending, Search, Sheet } from "../parts/basics";
import { Table } from "../parts/table";
import { ProxyCard } from "./workloads";

export function MeshPage() {
  const { data: m, error } = useResource<Mesh>("api/mesh", ticks.objects, ticks.proxies, ticks.graph);
  const { data: proxies = [] } = useResource<Proxy[]>("api/proxies", ticks.proxies);
  const [text, setText] = useState("");
  const [open, setOpen] = useState("");
  if (!m) return <div class="page"><Pending error={error} what="mesh" /></div>;
  const shown = proxies.filter((p) => p.name.includes(text));
  const proxy = proxies.find((p) => p.name === open);
  return (
    <div class="page">
      <div class="stack">
        {!m.controlPlane.ready && <Notice tone="bad">The control plane is not ready: {m.controlPlane.reason ?? "no reason given"}</Notice>}
        <dl class="figures">
          <div class="figure"><dt>Control plane</dt><dd class={"tone " + (m.controlPlane.ready ? "ok" : "bad")}>{m.controlPlane.ready ? "Ready" : "Not ready"}</dd></div>
          <div class="figure"><dt>Version</dt><dd style="font-size:17px">{m.version}</dd></div>
          <div class="figure"><dt>Proxies in step</dt><dd class={"tone " + (m.proxies.refused ? "bad" : m.proxies.stale ? "warn" : "")}>{m.proxies.synced}<small>of {m.proxies.connected}</small></dd></div>
          <div class="figure"><dt>Objects</dt><dd>{Object.values(m.verdicts).reduce((a, b) => a + b, 0)}</dd></div>
          <div class="figure"><dt>Running for</dt><dd style="font-size:17px">{m.started ? span(m.now - m.started) : "–"}</dd></div>
        </dl>
        <div class="cards">
          <section class="card">
            <header><h2>Control plane</h2></header>
            <dl class="body pairs">
              <dt>Home</dt><dd>{m.home === "machine" ? "this machine" : "Kubernetes"}{m.name ? `, ${m.name}` : ""}</dd>
              <dt>Trust domain</dt><dd><code>{m.trustDomain ?? "–"}</code></dd>
              <dt>Root namespace</dt><dd>{m.rootNamespace ?? "–"}</dd>
              <dt>Build</dt><dd>{m.controlPlane.generation}, of revision {m.controlPlane.revision}, {ago(m.controlPlane.built, m.now)}</dd>
              <dt>Access</dt><dd>{m.readOnly ? "read-only" : "read and write"}</dd>
            </dl>
          </section>
          <section class="card">
            <header><h2>Pushes since the start</h2></header>
            <div class="body"><Pushes m={m} /></div>
          </section>
          <section class="card">
            <header><h2>Verdicts</h2></header>
            <div class="body stack tight">
              {Object.keys(m.verdicts).length === 0 && <span class="muted">No objects yet.</span>}
              {Object.entries(m.verdicts).sort(([, a], [, b]) => b - a).map(([code, n]) => <a key={code} class="row apart" href={href(["config"], { verdict: code })}><span>{code}</span><span class="num">{n}</span></a>)}
            </div>
          </section>
          <section class="card">
            <header><h2>History</h2></header>
            <dl class="body pairs">
              <dt>Source</dt><dd>{m.history.source === "reports" ? "what proxies report" : `Prometheus at ${m.history.url ?? "?"}`}</dd>
              {m.history.reporting !== undefined && <><dt>Reporting</dt><dd>{plural(m.history.reporting, "proxy", "proxies")}</dd></>}
              {m.history.series !== undefined && <><dt>Series</dt><dd>{number(m.history.series)}{m.history.bytes ? `, ${bytes(m.history.bytes)}` : ""}</dd></>}
              {m.history.oldest ? <><dt>Reaches back</dt><dd>{span(m.now - m.history.oldest)}{m.history.retentionSeconds ? ` of ${span(m.history.retentionSeconds)}` : ""}</dd></> : null}
            </dl>
          </section>
        </div>
        <Certificates m={m} />
        <section class="card">
          <header><h2 class="grow">Proxies</h2><Search label="Filter proxies" value={text} onInput={setText} /></header>
          {shown.length === 0 ? <Empty icon="mesh" title={proxies.length === 0 ? "No proxy is connected" : "No proxy fits"} /> : (
            <Table caption="Proxies" rows={shown} id={(p) => p.name} columns={[
              { key: "name", title: "Proxy", by: (p) => p.name, cell: (p) => <button type="button" class="linklike" onClick={() => setOpen(p.name)}>{p.name}</button> },
              { key: "state", title: "State", by: (p) => (p.refusals?.length ? 0 : p.revision >= p.offered && !p.waiting ? 2 : 1), cell: (p) => (p.refusals?.length ? <Badge tone="bad" icon="alert">refuses</Badge> : p.revision >= p.offered && !p.waiting ? <Badge tone="ok" icon="check">in force</Badge> : <Badge tone="warn" icon="clock">behind</Badge>) },
              { key: "plane", title: "Data plane", by: (p) => p.dataPlane, cell: (p) => <span class="muted">{p.dataPlane} {p.version}</span> },
              { key: "resources", title: "Resources", num: true, by: (p) => Object.values(p.types).reduce((n, t) => n + t.resources, 0), cell: (p) => Object.values(p.types).reduce((n, t) => n + t.resources, 0) },
              { key: "rev", title: "Revision", num: true, by: (p) => p.revision, cell: (p) => p.revision },
              { key: "since", title: "Connected", by: (p) => p.since, cell: (p) => <span class="muted">{ago(Date.parse(p.since) / 1000, m.now)}</span> },
            ]} />
          )}
        </section>
      </div>
      {proxy && <Sheet title={proxy.name} onClose={() => setOpen("")}><ProxyCard proxy={proxy} /></Sheet>}
    </div>
  );
}

const typeNames: Record<string, string> = { cds: "Clusters", eds: "Endpoints", lds: "Listeners", rds: "Routes", sds: "Secrets", nds: "Names", ecds: "Extensions" };

function Pushes({ m }: { m: Mesh }) {
  const list = Object.entries(m.controlPlane.pushes ?? {}).sort(([, a], [, b]) => b - a);
  const most = Math.max(1, ...list.map(([, n]) => n));
  return (
    <div class="stack tight">
      {list.length === 0 && <span class="muted">Nothing was sent yet.</span>}
      {list.map(([t, n]) => (
        <div key={t} class="pushrow"><span>{typeNames[t] ?? t}</span><span class="bar"><i class="accent" style={`width:${(n / most) * 100}%`} /></span><span class="num">{number(n)}</span></div>
      ))}
      <div class="row apart small"><span class="muted">Refused by proxies</span><span class={"num tone " + (m.controlPlane.refusals ? "bad" : "")}>{m.controlPlane.refusals ?? 0}</span></div>
    </div>
  );
}

function Certificates({ m }: { m: Mesh }) {
  const all = [...m.certificates.roots.map((c) => ({ ...c, what: "Root" })), ...m.certificates.workloads.map((c) => ({ ...c, what: "Workload" }))];
  const left = (c: Certificate) => (c.notAfter - m.now) / Math.max(1, c.notAfter - c.notBefore);
  return (
    <section class="card">
      <header><h2>Certificates</h2></header>
      {all.length === 0 ? <Empty icon="lock" title="No certificates" /> : (
        <Table caption="Certificates" rows={all} id={(c) => c.what + c.subject + (c.proxy ?? "") + (c.serial ?? "")} columns={[
          { key: "what", title: "Of", by: (c) => c.what, cell: (c) => <Badge tone={c.what === "Root" ? "info" : ""}>{c.what}</Badge> },
          { key: "subject", title: "Subject", by: (c) => c.subject, cell: (c) => <><code>{c.subject}</code>{c.proxy && <div class="sub">{c.proxy}</div>}</> },
          { key: "from", title: "Valid from", by: (c) => c.notBefore, cell: (c) => <span class="muted nowrap">{clock(c.notBefore)}</span> },
          { key: "to", title: "Expires", by: (c) => c.notAfter, cell: (c) => <span class="nowrap">{c.notAfter > m.now ? "in " + span(c.notAfter - m.now) : <Badge tone="bad">expired</Badge>}</span> },
          { key: "left", title: "Time left", by: left, cell: (c) => <span class="bar" style="width:120px"><i class={left(c) < 0.1 ? "bad" : ""} style={`width:${Math.max(0, Math.min(1, left(c))) * 100}%`} /></span> },
        ]} />
      )}
    </section>
  );
}
