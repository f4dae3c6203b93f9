// What the wizards write: changes to the VirtualService and DestinationRule that a
// service has, or new ones. Nothing that is in an object already is lost; each
// function returns new values and leaves its arguments alone.
import type { Json } from "../editor/yaml";

export type Obj = { [k: string]: Json | undefined };

/** An object of the API as JSON. */
export interface Resource extends Obj { apiVersion: string; kind: string; metadata: Obj; spec: Obj }

/** What is known of the service that a wizard acts on. */
export interface Subject {
  namespace: string;
  name: string;
  host: string;
  port?: number;
  /** Values of the label "version" of its workloads. */
  versions: string[];
  virtualService?: Resource;
  destinationRule?: Resource;
}

export interface StringMatch { kind: "exact" | "prefix" | "regex"; value: string }

const clone = <T>(v: T): T => JSON.parse(JSON.stringify(v)) as T;
const list = (v: Json | undefined): Obj[] => (Array.isArray(v) ? (v as Obj[]) : []);

function fresh(s: Subject, kind: string, spec: Obj): Resource {
  return { apiVersion: "networking.istio.io/v1", kind, metadata: { name: s.name, namespace: s.namespace }, spec };
}

/** Whether a host of an object means the service. */
export function means(s: Subject, host: Json | undefined, namespace: string): boolean {
  if (typeof host !== "string") return false;
  const short = s.namespace === namespace ? [s.name] : [];
  return [...short, `${s.name}.${s.namespace}`, `${s.name}.${s.namespace}.svc`, s.host].includes(host);
}

function virtualService(s: Subject): Resource {
  return s.virtualService ? clone(s.virtualService) : fresh(s, "VirtualService", { hosts: [s.name], http: [{ route: [{ destination: { host: s.name } }] }] });
}

function destinationRule(s: Subject): Resource {
  return s.destinationRule ? clone(s.destinationRule) : fresh(s, "DestinationRule", { host: s.name });
}

/** The host as the object names the service already, or its short name. */
function hostIn(vs: Resource, s: Subject): string {
  for (const r of list(vs.spec["http"])) {
    for (const d of list(r["route"])) {
      const host = (d["destination"] as Obj | undefined)?.["host"];
      if (means(s, host, String(vs.metadata["namespace"] ?? s.namespace))) return host as string;
    }
  }
  return vs.metadata["namespace"] === s.namespace ? s.name : s.host;
}

/** Finds or adds a subset for each version; gives the names of the subsets. */
export function withSubsets(s: Subject): { rule: Resource; subsets: Map<string, string>; changed: boolean } {
  const rule = destinationRule(s);
  const subsets = list(rule.spec["subsets"]);
  const names = new Map<string, string>();
  let changed = !s.destinationRule;
  for (const v of s.versions) {
    const found = subsets.find((x) => (x["labels"] as Obj | undefined)?.["version"] === v);
    if (found) { names.set(v, String(found["name"])); continue; }
    const name = subsets.some((x) => x["name"] === v) ? `version-${v}` : v;
    subsets.push({ name, labels: { version: v } });
    names.set(v, name);
    changed = true;
  }
  rule.spec["subsets"] = subsets;
  return { rule, subsets: names, changed };
}

/** Whether a route takes every request: it has no match, or one that asks for nothing. */
const takesAll = (r: Obj) => { const m = list(r["match"]); return m.length === 0 || m.some((x) => Object.keys(x).length === 0); };

/** The routes to the service that take every request; one is added where there is none. */
function general(vs: Resource, s: Subject): Obj[] {
  const ns = String(vs.metadata["namespace"] ?? s.namespace);
  const routes = list(vs.spec["http"]);
  const leads = (r: Obj) => !r["redirect"] && !r["directResponse"] && (list(r["route"]).length === 0 || list(r["route"]).some((d) => means(s, (d["destination"] as Obj | undefined)?.["host"], ns)));
  const found = routes.filter((r) => takesAll(r) && leads(r));
  if (found.length > 0) return found;
  const r: Obj = { route: [{ destination: { host: hostIn(vs, s) } }] };
  routes.push(r);
  vs.spec["http"] = routes;
  return [r];
}

/** The weights that versions have now; a version without a route of its own has none. */
export function weightsOf(s: Subject): Map<string, number> {
  const out = new Map(s.versions.map((v) => [v, 0]));
  if (!s.virtualService) {
    s.versions.forEach((v) => out.set(v, Math.floor(100 / s.versions.length)));
    if (s.versions[0]) out.set(s.versions[0], (out.get(s.versions[0]) ?? 0) + (100 - s.versions.length * Math.floor(100 / s.versions.length)));
    return out;
  }
  const labels = new Map(list(s.destinationRule?.spec["subsets"]).map((x) => [x["name"], (x["labels"] as Obj | undefined)?.["version"]]));
  const route = list(general(virtualService(s), s)[0]?.["route"]);
  for (const d of route) {
    const v = labels.get((d["destination"] as Obj)["subset"] as string);
    if (typeof v === "string" && out.has(v)) out.set(v, typeof d["weight"] === "number" ? d["weight"] : 100);
  }
  if ([...out.values()].every((w) => w === 0) && s.versions[0]) out.set(s.versions[0], 100);
  return out;
}

/** Splits requests over versions by weights that add up to 100. */
export function shift(s: Subject, weights: Map<string, number>): Resource[] {
  const { rule, subsets, changed } = withSubsets(s);
  const vs = virtualService(s);
  const host = hostIn(vs, s);
  for (const r of general(vs, s)) {
    const before = list(r["route"]);
    r["route"] = [...weights].filter(([, w]) => w > 0).map(([v, weight]) => {
      const old = before.find((d) => (d["destination"] as Obj)["subset"] === subsets.get(v));
      const destination: Obj = { ...(old?.["destination"] as Obj | undefined), host, subset: subsets.get(v)! };
      return { ...old, destination, weight } as Obj;
    });
  }
  return changed ? [rule, vs] : [vs];
}

const matchOf = (m: StringMatch): Obj => ({ [m.kind]: m.value });

/** Sends requests with a header to one version, before all other routes. */
export function byHeader(s: Subject, header: string, match: StringMatch, version: string): Resource[] {
  const { rule, subsets, changed } = withSubsets(s);
  const vs = virtualService(s);
  const route: Obj = { match: [{ headers: { [header.toLowerCase()]: matchOf(match) } }], route: [{ destination: { host: hostIn(vs, s), subset: subsets.get(version)! } }] };
  const same = JSON.stringify(route["match"]);
  const rest = list(vs.spec["http"]).filter((r) => JSON.stringify(r["match"]) !== same);
  vs.spec["http"] = [route, ...rest];
  return changed ? [rule, vs] : [vs];
}

export interface Fault { delay?: { percent: number; fixed: string }; abort?: { percent: number; status: number }; header?: { name: string; match: StringMatch } }

/** Delays or answers requests, all or those with a header; without either it takes faults away. */
export function fault(s: Subject, f: Fault): Resource[] {
  const vs = virtualService(s);
  const value: Obj = {};
  if (f.delay) value["delay"] = { percentage: { value: f.delay.percent }, fixedDelay: f.delay.fixed };
  if (f.abort) value["abort"] = { percentage: { value: f.abort.percent }, httpStatus: f.abort.status };
  const none = !f.delay && !f.abort;
  if (f.header && !none) {
    const base = general(vs, s)[0]!;
    const match = [{ headers: { [f.header.name.toLowerCase()]: matchOf(f.header.match) } }];
    const rest = list(vs.spec["http"]).filter((r) => JSON.stringify(r["match"]) !== JSON.stringify(match));
    vs.spec["http"] = [{ ...clone(base), match, fault: value } as Obj, ...rest];
    return [vs];
  }
  for (const r of general(vs, s)) {
    if (none) delete r["fault"];
    else r["fault"] = value;
  }
  if (none) for (const r of list(vs.spec["http"])) delete r["fault"];
  return [vs];
}

export interface Patience { timeout: string; attempts: number; perTry: string; on: string }

/** Sets how long callers wait and when they try again, on every route to the service. */
export function patience(s: Subject, p: Patience): Resource[] {
  const vs = virtualService(s);
  general(vs, s);
  const ns = String(vs.metadata["namespace"] ?? s.namespace);
  for (const r of list(vs.spec["http"])) {
    if (!list(r["route"]).some((d) => means(s, (d["destination"] as Obj | undefined)?.["host"], ns))) continue;
    if (p.timeout) r["timeout"] = p.timeout;
    else delete r["timeout"];
    const retries: Obj = { ...(r["retries"] as Obj | undefined), attempts: p.attempts };
    if (p.perTry) retries["perTryTimeout"] = p.perTry;
    else delete retries["perTryTimeout"];
    if (p.on) retries["retryOn"] = p.on;
    else delete retries["retryOn"];
    r["retries"] = retries;
  }
  return [vs];
}

/** Sends a copy of a share of the requests to a version; a share of 0 ends it. */
export function mirror(s: Subject, version: string, percent: number): Resource[] {
  const { rule, subsets, changed } = withSubsets(s);
  const vs = virtualService(s);
  for (const r of general(vs, s)) {
    delete r["mirrors"];
    if (percent > 0) {
      r["mirror"] = { host: hostIn(vs, s), subset: subsets.get(version)! };
      r["mirrorPercentage"] = { value: percent };
    } else {
      delete r["mirror"];
      delete r["mirrorPercentage"];
    }
  }
  return changed ? [rule, vs] : [vs];
}

export interface Breaker { maxConnections: number; maxPending: number; maxRequests: number; consecutive5xx: number; interval: string; baseEjection: string; maxEjected: number }

/** Bounds the load on the service and lets failing endpoints rest. */
export function breaker(s: Subject, b: Breaker): Resource[] {
  const rule = destinationRule(s);
  const policy: Obj = { ...(rule.spec["trafficPolicy"] as Obj | undefined) };
  const pool: Obj = { ...(policy["connectionPool"] as Obj | undefined) };
  pool["tcp"] = { ...(pool["tcp"] as Obj | undefined), maxConnections: b.maxConnections };
  pool["http"] = { ...(pool["http"] as Obj | undefined), http1MaxPendingRequests: b.maxPending, http2MaxRequests: b.maxRequests };
  policy["connectionPool"] = pool;
  policy["outlierDetection"] = { ...(policy["outlierDetection"] as Obj | undefined), consecutive5xxErrors: b.consecutive5xx, interval: b.interval, baseEjectionTime: b.baseEjection, maxEjectionPercent: b.maxEjected };
  rule.spec["trafficPolicy"] = policy;
  return [rule];
}
