import type { Changes, Problem, Report, Validation, ExplainRequest, Explanation, PromRange } from "./types";

/** A refusal of the console's API. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly problems: Problem[]) {
    super(problems.map((p) => p.message).join("; ") || `the console answered ${status}`);
  }
}

async function request<T>(method: string, path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, { method, ...init, headers: { Accept: "application/json", ...init.headers } });
  } catch (e) {
    if (e instanceof DOMException && e.name === "AbortError") throw e;
    throw new Refusal(0, [{ message: "the console does not answer: is the mesh still running?" }]);
  }
  const text = await response.text();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refusal(response.status, [{ message: text.trim() || response.statusText }]);
  }
  if (!response.ok) {
    throw new Refusal(response.status, (body as { problems?: Problem[] }).problems ?? [{ message: response.statusText }]);
  }
  return body as T;
}

type Query = Record<string, string | number | boolean | undefined>;

/** Writes a path with its query; parameters that are undefined or "" are left out. */
export function url(path: string, query: Query = {}): string {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) {
    if (v !== undefined && v !== "") p.set(k, String(v));
  }
  const text = p.toString();
  return text ? `${path}?${text}` : path;
}

const yaml = { "Content-Type": "application/yaml" };

export const api = {
  get: <T>(path: string, signal?: AbortSignal) => request<T>("GET", path, { signal }),
  validate: (body: string, signal?: AbortSignal) => request<Validation>("POST", "api/validate", { body, headers: yaml, signal }),
  apply: (body: string, dryRun = false) => request<Changes>("POST", url("api/apply", { dryRun: dryRun || undefined }), { body, headers: yaml }),
  wait: (revision: number, timeout = "20s") => request<Report>("GET", url("api/wait", { revision, timeout })),
  remove: (kind: string, namespace: string | undefined, name: string) =>
    request<Changes>("DELETE", `api/objects/${encodeURIComponent(kind)}/${encodeURIComponent(namespace || "-")}/${encodeURIComponent(name)}`),
  explain: (body: ExplainRequest, signal?: AbortSignal) =>
    request<Explanation>("POST", "api/explain", { body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal }),
  queryRange: (query: string, start: number, end: number, step: number, signal?: AbortSignal) =>
    request<PromRange>("GET", url("api/v1/query_range", { query, start, end, step }), { signal }),
};
