// Where things of the mesh have their pages.
import type { GraphNode, Ref } from "../api/types";
import { href } from "./router";

export const serviceLink = (namespace: string, name: string, tab?: string) => href(["services", namespace, name], { tab });
export const workloadLink = (namespace: string, name: string, tab?: string) => href(["workloads", namespace, name], { tab });
export const objectLink = (r: Pick<Ref, "kind" | "namespace" | "name">) => href(["config", r.kind, r.namespace || "-", r.name]);
export const graphLink = (focus?: string, view?: string) => href(["graph"], { focus, view });

/** Splits NS/NAME. */
export function split(ref: string): [namespace: string, name: string] {
  const i = ref.indexOf("/");
  return i < 0 ? ["", ref] : [ref.slice(0, i), ref.slice(i + 1)];
}

/** The pages behind a node of the graph. */
export function linksOf(n: GraphNode): { text: string; to: string }[] {
  const out: { text: string; to: string }[] = [];
  for (const s of n.services ?? (n.kind === "service" && n.namespace ? [`${n.namespace}/${n.name}`] : [])) {
    const [ns, name] = split(s);
    out.push({ text: `Service ${name}`, to: serviceLink(ns, name) });
  }
  for (const w of n.workloads ?? (n.kind === "workload" && n.namespace ? [`${n.namespace}/${n.name}`] : [])) {
    const [ns, name] = split(w);
    out.push({ text: `${n.kind === "gateway" ? "Gateway" : "Workload"} ${name}`, to: workloadLink(ns, name) });
  }
  return out;
}
