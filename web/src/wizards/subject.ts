// Reads what a wizard must know of its service.
import { useEffect, useState } from "preact/hooks";
import type { Service, StoredObject, WorkloadSummary } from "../api/types";
import { api } from "../api/client";
import { means, type Obj, type Resource, type Subject } from "./rules";

export interface Loaded {
  subject: Subject;
  /** YAML of the objects as they are, by "Kind namespace/name". */
  before: Map<string, string>;
  /** Workloads whose proxies can be asked: WORKLOAD.NAMESPACE, callers first. */
  callers: string[];
}

export const keyOf = (r: Resource) => `${r.kind} ${String(r.metadata["namespace"] ?? "")}/${String(r.metadata["name"])}`;

/** What the server adds to objects and does not want back. */
export function bare(object: Resource): Resource {
  const metadata: Obj = {};
  for (const k of ["name", "namespace", "labels", "annotations"]) if (object.metadata[k] !== undefined) metadata[k] = object.metadata[k];
  return { apiVersion: object.apiVersion, kind: object.kind, metadata, spec: object.spec };
}

async function load(namespace: string, name: string): Promise<Loaded> {
  const [service, workloads] = await Promise.all([
    api.get<Service>(`api/services/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}?duration=10m`),
    api.get<WorkloadSummary[]>("api/workloads"),
  ]);
  const subject: Subject = {
    namespace, name, host: service.host, port: service.ports.find((p) => /HTTP|GRPC|auto/i.test(p.protocol))?.number ?? service.ports[0]?.number,
    versions: [...new Set(service.instances.map((i) => i.version).filter((v): v is string => !!v))].sort((a, b) => a.localeCompare(b, "en", { numeric: true })),
  };
  const before = new Map<string, string>();
  const refs = service.objects.filter((r) => r.kind === "VirtualService" || r.kind === "DestinationRule");
  const objects = await Promise.all(refs.map((r) => api.get<StoredObject & { object: Resource }>(`api/objects/${r.kind}/${encodeURIComponent(r.namespace || "-")}/${encodeURIComponent(r.name)}`)));
  for (const o of objects) {
    const r = bare(o.object);
    const ns = String(r.metadata["namespace"] ?? "");
    if (r.kind === "DestinationRule" && !subject.destinationRule && means(subject, r.spec["host"], ns)) subject.destinationRule = r;
    const hosts = Array.isArray(r.spec["hosts"]) ? r.spec["hosts"] : [];
    const gateways = Array.isArray(r.spec["gateways"]) ? r.spec["gateways"] : ["mesh"];
    if (r.kind === "VirtualService" && !subject.virtualService && gateways.includes("mesh") && hosts.some((h) => means(subject, h, ns))) subject.virtualService = r;
    before.set(keyOf(r), o.yaml);
  }
  const callers = service.edges.map((e) => /^(workload|gateway)\/([^/]+)\/(.+)$/.exec(e.source)).filter((m) => !!m).map((m) => `${m[3]}.${m[2]}`);
  const others = workloads.filter((w) => (w.proxies ?? 0) > 0).map((w) => `${w.name}.${w.namespace}`);
  const own = new Set(service.instances.map((i) => `${i.workload}.${i.namespace}`));
  return { subject, before, callers: [...new Set([...callers, ...others.filter((x) => !own.has(x)), ...others])] };
}

export function useSubject(service: string): { loaded?: Loaded; error?: string } {
  const [state, set] = useState<{ loaded?: Loaded; error?: string }>({});
  useEffect(() => {
    const [namespace = "", name = ""] = service.split("/");
    load(namespace, name).then((loaded) => set({ loaded }), (e: unknown) => set({ error: e instanceof Error ? e.message : String(e) }));
  }, [service]);
  return state;
}
