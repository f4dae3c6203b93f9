// The language of the graph's find and hide boxes:
//
//   errors >= 1% and rate > 10        p99 > 500ms or health = failing
//   name ~ ^rev and not version = v1  ns in (default, shop)      !mtls and kind = http
//
// A comparison without a field that fits says no; a word alone is a flag, or else a
// part of the name.
import type { GraphEdge, GraphNode } from "../api/types";

type Value = string | number | boolean | undefined;
type Subject = { node?: GraphNode; edge?: GraphEdge; source?: GraphNode; target?: GraphNode };
export type Test = (s: Subject) => boolean;

export interface Filter {
  test?: Test;
  /** What is wrong with the text; nothing if it is right. */
  problem?: string;
}

const fields: Record<string, (s: Subject) => Value | Value[]> = {
  name: (s) => s.node?.name,
  app: (s) => s.node?.app ?? (s.node?.kind === "app" ? s.node.name : undefined),
  version: (s) => s.node?.version,
  ns: (s) => s.node?.namespace,
  kind: (s) => s.node?.kind ?? s.edge?.protocol,
  health: (s) => s.node?.health,
  service: (s) => s.node?.services?.map((x) => x.split("/").pop()),
  workload: (s) => s.node?.workloads?.map((x) => x.split("/").pop()),
  rate: (s) => s.edge?.rates.rate ?? s.node?.inbound?.rate,
  out: (s) => s.node?.outbound?.rate,
  errors: (s) => (s.edge?.rates ?? s.node?.inbound)?.errorShare,
  p50: (s) => (s.edge?.rates ?? s.node?.inbound)?.p50,
  p95: (s) => (s.edge?.rates ?? s.node?.inbound)?.p95,
  p99: (s) => (s.edge?.rates ?? s.node?.inbound)?.p99,
  bytes: (s) => { const r = s.edge?.rates ?? s.node?.inbound; return r && (r.bytesSent ?? 0) + (r.bytesReceived ?? 0); },
  protocol: (s) => s.edge?.protocol,
  mtls: (s) => s.edge?.mtls,
  source: (s) => s.source?.name,
  target: (s) => s.target?.name,
  code: (s) => s.edge?.rates.codes && Object.keys(s.edge.rates.codes),
  flag: (s) => s.edge?.rates.flags && Object.keys(s.edge.rates.flags),
  host: (s) => s.edge?.services,
};
const aliases: Record<string, string> = { namespace: "ns", rps: "rate", error: "errors", latency: "p95", throughput: "bytes", node: "name" };

const flags: Record<string, Test> = {
  healthy: (s) => s.node?.health === "healthy",
  degraded: (s) => s.node?.health === "degraded",
  failing: (s) => s.node?.health === "failing",
  idle: (s) => (s.node ? s.node.health === "idle" : s.edge?.rates.rate === 0),
  mtls: (s) => (s.edge?.mtls ?? 0) > 0.999,
  gateway: (s) => s.node?.kind === "gateway",
  external: (s) => s.node?.kind === "external",
  unknown: (s) => s.node?.kind === "unknown",
  outofmesh: (s) => !!s.node?.outOfMesh,
  root: (s) => !!s.node?.root,
  http: (s) => s.edge?.protocol === "http",
  grpc: (s) => s.edge?.protocol === "grpc",
  tcp: (s) => s.edge?.protocol === "tcp",
};

/** The fields and flags, for the help. */
export const words = { fields: Object.keys(fields), flags: Object.keys(flags) };

class Mistake extends Error {}

/** Reads an expression; an empty one has no test. */
export function parse(text: string): Filter {
  const tokens = text.match(/"[^"]*"|'[^']*'|\(|\)|,|!=|>=|<=|!~|[=<>~!]|[^\s()<>=!~,"']+/g) ?? [];
  if (tokens.length === 0) return {};
  let i = 0;
  const peek = () => tokens[i];
  const word = () => peek()?.toLowerCase();
  const take = () => tokens[i++];

  const either = (): Test => {
    let left = both();
    while (word() === "or" || peek() === "||") { take(); const l = left, r = both(); left = (s) => l(s) || r(s); }
    return left;
  };
  const both = (): Test => {
    let left = single();
    while (peek() !== undefined && peek() !== ")" && word() !== "or" && peek() !== "||") {
      if (word() === "and" || peek() === "&&") take();
      const l = left, r = single();
      left = (s) => l(s) && r(s);
    }
    return left;
  };
  const single = (): Test => {
    const t = take();
    if (t === undefined) throw new Mistake("something is missing at the end");
    if (t === "!" || t.toLowerCase() === "not") { const x = single(); return (s) => !x(s); }
    if (t === "(") {
      const x = either();
      if (take() !== ")") throw new Mistake("a bracket is not closed");
      return x;
    }
    if (/^[)=<>~,]/.test(t)) throw new Mistake(`"${t}" stands where a field or a word is expected`);
    const op = peek();
    if (op && /^(=|!=|>=|<=|<|>|~|!~)$/.test(op)) { take(); return compare(t, op, [unquote(take())]); }
    if (word() === "in") {
      take();
      if (take() !== "(") throw new Mistake('"in" is followed by a list in brackets');
      const list = [unquote(take())];
      while (peek() === ",") { take(); list.push(unquote(take())); }
      if (take() !== ")") throw new Mistake("a bracket is not closed");
      return compare(t, "=", list);
    }
    const flag = flags[t.toLowerCase().replace(/[-_]/g, "")];
    if (flag) return flag;
    const part = unquote(t).toLowerCase();
    return (s) => !!s.node && [s.node.name, s.node.app, s.node.namespace].some((x) => x?.toLowerCase().includes(part));
  };
  try {
    const test = either();
    if (peek() !== undefined) throw new Mistake(`"${peek()}" is one too many`);
    return { test };
  } catch (e) {
    if (e instanceof Mistake) return { problem: e.message };
    throw e;
  }
}

function unquote(t: string | undefined): string {
  if (t === undefined || t === ")") throw new Mistake("a value is missing");
  return t.replace(/^["'](.*)["']$/, "$1");
}

/** Reads a value's number: per cent becomes a share, times milliseconds. */
function numeric(text: string): number {
  const m = /^(-?\d+(?:\.\d+)?)(%|ms|s|k|kb|mb|b)?$/i.exec(text);
  if (!m) return NaN;
  return Number(m[1]) * ({ "%": 0.01, s: 1000, k: 1000, kb: 1e3, mb: 1e6 }[(m[2] ?? "").toLowerCase()] ?? 1);
}

function compare(name: string, op: string, values: string[]): Test {
  const key = name.toLowerCase();
  const field = fields[aliases[key] ?? key];
  if (!field) throw new Mistake(`there is no field "${name}": ${words.fields.join(", ")}`);
  if (op === "~" || op === "!~") {
    let re: RegExp;
    try {
      re = new RegExp(values[0]!, "i");
    } catch {
      throw new Mistake(`"${values[0]}" is no regular expression`);
    }
    return (s) => all(field(s)).some((v) => re.test(String(v))) === (op === "~");
  }
  const numbers = values.map(numeric);
  if (/[<>]/.test(op) && Number.isNaN(numbers[0])) throw new Mistake(`"${values[0]}" is no number`);
  const holds = (v: Value): boolean => {
    switch (op) {
      case ">": return Number(v) > numbers[0]!;
      case "<": return Number(v) < numbers[0]!;
      case ">=": return Number(v) >= numbers[0]!;
      case "<=": return Number(v) <= numbers[0]!;
      default: return values.some((x, i) => (typeof v === "number" ? v === numbers[i] : String(v).toLowerCase() === x.toLowerCase()));
    }
  };
  if (op === "!=") return (s) => { const list = all(field(s)); return list.length > 0 && !list.some(holds); };
  return (s) => all(field(s)).some(holds);
}

const all = (v: Value | Value[]): Value[] => (Array.isArray(v) ? v : v === undefined ? [] : [v]);
