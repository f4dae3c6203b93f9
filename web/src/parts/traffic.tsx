import type { GraphEdge } from "../api/types";
import { millis, number, share, throughput } from "../lib/format";
import { workloadLink } from "../lib/links";
import { Empty } from "./basics";
import { Icon } from "./icons";
import { errorTone } from "./metrics";
import { Table } from "./table";

/** Names an end of an edge of the workload view, with its page. */
export function End({ id }: { id: string }) {
  const [kind, ns, ...rest] = id.split("/");
  if ((kind === "workload" || kind === "gateway") && ns && rest.length > 0) return <a href={workloadLink(ns, rest.join("/"))}>{rest.join("/")} <span class="faint small">{ns}</span></a>;
  return <span class="muted">{kind === "unknown" ? "Unknown callers" : [ns, ...rest].filter(Boolean).join("/") || id}</span>;
}

/** Edges as a table. */
export function Traffic({ title, edges }: { title: string; edges: GraphEdge[] }) {
  return (
    <section class="card">
      <header><h2>{title}</h2></header>
      {edges.length === 0 ? <Empty icon="graph" title="No traffic in this time" /> : (
        <Table caption={title} rows={edges} id={(e) => e.id} columns={[
          { key: "source", title: "Caller", by: (e) => e.source, cell: (e) => <End id={e.source} /> },
          { key: "target", title: "Called", by: (e) => e.target, cell: (e) => <End id={e.target} /> },
          { key: "protocol", title: "Protocol", by: (e) => e.protocol, cell: (e) => <span class="muted">{{ http: "HTTP", grpc: "gRPC", tcp: "TCP" }[e.protocol]}</span> },
          { key: "rate", title: "Requests", num: true, by: (e) => e.rates.rate, cell: (e) => (e.protocol === "tcp" ? throughput((e.rates.bytesSent ?? 0) + (e.rates.bytesReceived ?? 0)) : number(e.rates.rate) + "/s") },
          { key: "errors", title: "Errors", num: true, by: (e) => e.rates.errorShare, cell: (e) => <span class={"tone " + errorTone(e.rates.errorShare)}>{share(e.rates.errorShare)}</span> },
          { key: "p50", title: "p50", num: true, by: (e) => e.rates.p50 ?? 0, cell: (e) => millis(e.rates.p50) },
          { key: "p99", title: "p99", num: true, by: (e) => e.rates.p99 ?? 0, cell: (e) => millis(e.rates.p99) },
          { key: "mtls", title: "mTLS", cell: (e) => (e.mtls === undefined ? <span class="faint">–</span> : <span class={"tone " + (e.mtls > 0.999 ? "ok" : "warn")} title={share(e.mtls) + " under mutual TLS"}><Icon name={e.mtls > 0.999 ? "lock" : "unlock"} size={14} /><span class="sr">{share(e.mtls)}</span></span>) },
        ]} />
      )}
    </section>
  );
}
