import type { Gateway } from "../api/types";
import { url } from "../api/client";
import { objectLink, workloadLink } from "../lib/links";
import { plural } from "../lib/format";
import { useResource } from "../lib/resource";
import { at, duration, ticks } from "../lib/time";
import { Badge, Empty, HealthMark, Pending, Verdict } from "../parts/basics";
import { Icon } from "../parts/icons";
import { Metrics } from "../parts/metrics";
import { Table } from "../parts/table";
import { Traffic } from "../parts/traffic";
import { SyncMark } from "./workloads";

export function GatewaysPage() {
  const { data, error } = useResource<Gateway[]>(url("api/gateways", { duration: duration.value, at: at.value ?? undefined }), ticks.graph, ticks.objects, ticks.proxies);
  if (!data) return <div class="page"><Pending error={error} what="gateways" /></div>;
  return (
    <div class="page">
      <header><p class="lead">{plural(data.length, "gateway")}: where traffic comes in and goes out</p></header>
      {data.length === 0 && <section class="card"><Empty icon="gateway" title="No gateways"><p>A workload becomes one when a Gateway object selects it.</p></Empty></section>}
      <div class="stack">
        {data.map((g) => (
          <section key={g.namespace + "/" + g.name} class="card">
            <header class="row wrap">
              <Icon name="gateway" /><h2><a href={workloadLink(g.namespace, g.name)}>{g.name}</a></h2><span class="muted">{g.namespace}</span>
              <span class="grow" /><HealthMark health={g.health} /><SyncMark w={g} /><Badge>{g.ready} of {g.instances} pods</Badge>
            </header>
            <div class="body stack">
              <Metrics wide rates={g.inbound?.rate ? g.inbound : g.outbound ?? { rate: 0, errorShare: 0 }} />
              {g.servers.length === 0 ? <p class="muted">No Gateway object acts on it: it listens on nothing.</p> : (
                <Table caption={`Servers of ${g.name}`} rows={g.servers} id={(s) => s.object.namespace + "/" + s.object.name + s.port + s.hosts.join()} columns={[
                  { key: "port", title: "Port", num: true, by: (s) => s.port, cell: (s) => s.port },
                  { key: "protocol", title: "Protocol", by: (s) => s.protocol, cell: (s) => <Badge tone={/HTTPS|TLS/.test(s.protocol) ? "ok" : ""} icon={/HTTPS|TLS/.test(s.protocol) ? "lock" : undefined}>{s.protocol}</Badge> },
                  { key: "hosts", title: "Hosts", cell: (s) => <span class="row wrap">{s.hosts.map((h) => <span key={h} class="tag">{h}</span>)}</span> },
                  { key: "cert", title: "Certificate", cell: (s) => <span class="muted">{s.credential ?? "–"}</span> },
                  { key: "object", title: "From", cell: (s) => <a href={objectLink(s.object)}>{s.object.kind} {s.object.name}</a> },
                  { key: "verdict", title: "Verdict", cell: (s) => s.object.verdict && <Verdict code={s.object.verdict} /> },
                ]} />
              )}
            </div>
            {g.edges.length > 0 && <div class="body inset"><Traffic title="Where it leads" edges={g.edges} /></div>}
          </section>
        ))}
      </div>
    </div>
  );
}
