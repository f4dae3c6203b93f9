// The graph as tables: for those who cannot see it, and for copying numbers.
import type { Graph } from "../api/types";
import { millis, number, share, throughput } from "../lib/format";
import { HealthMark } from "../parts/basics";
import { Table } from "../parts/table";
import { titleOf } from "./model";

export function Alternative({ graph, onSelect }: { graph: Graph; onSelect: (id: string) => void }) {
  const by = new Map(graph.nodes.map((n) => [n.id, n]));
  const name = (id: string) => { const n = by.get(id); return n ? (n.kind === "app" ? [n.app ?? n.name, n.version].filter(Boolean).join(" ") : titleOf(n)) : id; };
  return (
    <div class="page">
      <div class="stack">
        <section class="card">
          <header><h2>Nodes</h2></header>
          <Table caption="Nodes of the graph" rows={graph.nodes} id={(n) => n.id} columns={[
            { key: "name", title: "Name", by: (n) => name(n.id), cell: (n) => <button type="button" class="linklike" onClick={() => onSelect(n.id)}>{name(n.id)}</button> },
            { key: "kind", title: "Kind", by: (n) => n.kind, cell: (n) => n.kind },
            { key: "ns", title: "Namespace", by: (n) => n.namespace ?? "", cell: (n) => n.namespace },
            { key: "health", title: "Health", by: (n) => n.health, cell: (n) => <HealthMark health={n.health} /> },
            { key: "in", title: "Requests in", num: true, by: (n) => n.inbound?.rate ?? 0, cell: (n) => (n.inbound ? number(n.inbound.rate) + "/s" : "–") },
            { key: "errors", title: "Errors", num: true, by: (n) => n.inbound?.errorShare ?? 0, cell: (n) => share(n.inbound?.errorShare) },
            { key: "out", title: "Requests out", num: true, by: (n) => n.outbound?.rate ?? 0, cell: (n) => (n.outbound ? number(n.outbound.rate) + "/s" : "–") },
          ]} />
        </section>
        <section class="card">
          <header><h2>Edges</h2></header>
          <Table caption="Edges of the graph" rows={graph.edges} id={(e) => e.id} columns={[
            { key: "source", title: "Caller", by: (e) => name(e.source), cell: (e) => name(e.source) },
            { key: "target", title: "Called", by: (e) => name(e.target), cell: (e) => <button type="button" class="linklike" onClick={() => onSelect(e.id)}>{name(e.target)}</button> },
            { key: "protocol", title: "Protocol", by: (e) => e.protocol, cell: (e) => ({ http: "HTTP", grpc: "gRPC", tcp: "TCP" })[e.protocol] },
            { key: "rate", title: "Rate", num: true, by: (e) => e.rates.rate, cell: (e) => number(e.rates.rate) + "/s" },
            { key: "errors", title: "Errors", num: true, by: (e) => e.rates.errorShare, cell: (e) => share(e.rates.errorShare) },
            { key: "p50", title: "p50", num: true, by: (e) => e.rates.p50 ?? 0, cell: (e) => millis(e.rates.p50) },
            { key: "p95", title: "p95", num: true, by: (e) => e.rates.p95 ?? 0, cell: (e) => millis(e.rates.p95) },
            { key: "p99", title: "p99", num: true, by: (e) => e.rates.p99 ?? 0, cell: (e) => millis(e.rates.p99) },
            { key: "bytes", title: "Throughput", num: true, by: (e) => (e.rates.bytesSent ?? 0) + (e.rates.bytesReceived ?? 0), cell: (e) => throughput((e.rates.bytesSent ?? 0) + (e.rates.bytesReceived ?? 0)) },
            { key: "mtls", title: "Mutual TLS", num: true, by: (e) => e.mtls ?? -1, cell: (e) => (e.mtls === undefined ? "–" : share(e.mtls)) },
          ]} />
        </section>
      </div>
    </div>
  );
}
