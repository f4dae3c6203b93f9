// The console's API as internal/console/openapi.yaml describes it.

export type Health = "healthy" | "degraded" | "failing" | "idle" | "unknown";

export interface Rates {
  rate: number;
  errorShare: number;
  p50?: number;
  p95?: number;
  p99?: number;
  bytesSent?: number;
  bytesReceived?: number;
  connections?: number;
  codes?: Record<string, number>;
  flags?: Record<string, number>;
}

export type NodeKind = "workload" | "service" | "app" | "gateway" | "external" | "unknown";
export type View = "service" | "workload" | "app" | "versionedApp";

export interface GraphNode {
  id: string;
  kind: NodeKind;
  namespace?: string;
  name: string;
  app?: string;
  version?: string;
  parent?: string;
  services?: string[];
  workloads?: string[];
  health: Health;
  inbound?: Rates;
  outbound?: Rates;
  root?: boolean;
  outOfMesh?: boolean;
}

export interface GraphEdge {
  id: string;
  source: string;
  target: string;
  protocol: "http" | "grpc" | "tcp";
  rates: Rates;
  mtls?: number;
  sourcePrincipal?: string;
  targetPrincipal?: string;
  services?: string[];
  reporter?: "source" | "destination";
}

export interface Graph {
  view: string;
  from: number;
  to: number;
  nodes: GraphNode[];
  edges: GraphEdge[];
}

export interface Namespace {
  name: string;
  services: number;
  workloads: number;
  objects: number;
  problems?: number;
  health: Health;
}

export interface Ref {
  kind: string;
  namespace?: string;
  name: string;
  verdict?: string;
}

export interface Port {
  name?: string;
  number: number;
  protocol: string;
}

export interface ServiceSummary {
  namespace: string;
  name: string;
  host: string;
  external: boolean;
  address?: string;
  ports: Port[];
  endpoints: number;
  ready: number;
  health: Health;
  inbound: Rates;
}

export interface Instance {
  name: string;
  namespace: string;
  workload?: string;
  address: string;
  port?: number;
  ready: boolean;
  version?: string;
  zone?: string;
  region?: string;
  serviceAccount?: string;
  proxy?: string;
}

export interface Chart {
  id: string;
  unit: "per second" | "milliseconds" | "bytes per second";
  times: number[];
  lines: { name: string; values: (number | null)[] }[];
}

export interface Service extends ServiceSummary {
  instances: Instance[];
  edges: GraphEdge[];
  charts: Chart[];
  objects: Ref[];
}

export interface WorkloadSummary {
  namespace: string;
  name: string;
  app?: string;
  version?: string;
  gateway: boolean;
  services?: string[];
  instances: number;
  ready: number;
  proxies?: number;
  synced?: number;
  health: Health;
  inbound?: Rates;
  outbound?: Rates;
}

export interface Workload extends WorkloadSummary {
  serviceAccount?: string;
  identity?: string;
  labels?: Record<string, string>;
  pods: Instance[];
  edges: GraphEdge[];
  charts: Chart[];
  objects: Ref[];
  proxyStates: Proxy[];
}

export interface GatewayServer {
  object: Ref;
  port: number;
  protocol: string;
  hosts: string[];
  credential?: string;
}

export interface Gateway extends WorkloadSummary {
  servers: GatewayServer[];
  edges: GraphEdge[];
}

export interface Proxy {
  name: string;
  node: string;
  dataPlane: string;
  agent?: string;
  version?: string;
  since: string;
  identity?: string;
  revision: number;
  offered: number;
  waiting?: string;
  refusals?: string[];
  types: Record<string, { state: string; resources: number; version?: string; lastSent?: string; lastAck?: string }>;
}

export interface Detail {
  code: string;
  path?: string;
  message?: string;
  by?: string;
}

export interface ObjectStatus {
  kind: string;
  namespace?: string;
  name: string;
  generation?: number;
  created?: string;
  verdict: string;
  details?: Detail[];
}

export interface ObjectList {
  revision: number;
  compiled: number;
  objects: ObjectStatus[];
  files?: { file?: string; path?: string; problems?: Problem[]; error?: string }[];
}

export interface StoredObject extends ObjectStatus {
  yaml: string;
  inForce?: number;
  proxies?: number;
  refused?: ProxyReport[];
}

export interface Problem {
  file?: string;
  line?: number;
  object?: string;
  path?: string;
  message: string;
}

export interface Change {
  kind: string;
  resource: string;
  namespace?: string;
  name: string;
  change: "created" | "configured" | "unchanged" | "deleted";
}

export interface Changes {
  revision: number;
  dryRun?: boolean;
  objects: Change[];
  warnings?: Problem[];
  missing?: Problem[];
}

export interface Validation {
  valid: boolean;
  problems: Problem[];
  warnings: Problem[];
  objects: Change[];
  verdicts: ObjectStatus[];
}

export interface ProxyReport {
  proxy: string;
  state: "in-force" | "rejected" | "pending";
  reason?: string;
  object?: string;
}

export interface Report {
  revision: number;
  proxies: ProxyReport[];
}

export interface ExplainRequest {
  from: string;
  url: string;
  method?: string;
  headers?: Record<string, string>;
  inbound?: boolean;
  with?: string;
}

export interface ExplainStep {
  kind: string;
  name: string;
  origin?: string;
  why: string;
  does?: string[];
  lost?: { name: string; origin?: string; why: string }[];
  other?: number;
}

export interface ExplainDestination {
  cluster: string;
  origin?: string;
  percent: number;
  policy?: string;
  problem?: string;
  endpoints?: { address: string; workload?: string; weight: number }[];
}

export interface Explanation {
  text: string;
  explanation: { request: string; steps: ExplainStep[]; answer: string; destinations?: ExplainDestination[]; failure?: string };
}

export interface Certificate {
  proxy?: string;
  subject: string;
  serial?: string;
  notBefore: number;
  notAfter: number;
}

export interface Mesh {
  name?: string;
  home: "machine" | "kubernetes";
  version: string;
  trustDomain?: string;
  rootNamespace?: string;
  readOnly: boolean;
  now: number;
  started?: number;
  controlPlane: {
    ready: boolean;
    reason?: string;
    generation: number;
    revision: number;
    built?: number;
    pushes?: Record<string, number>;
    refusals?: number;
  };
  certificates: { roots: Certificate[]; workloads: Certificate[] };
  proxies: { connected: number; synced: number; stale: number; refused: number };
  verdicts: Record<string, number>;
  history: { source: "reports" | "prometheus"; url?: string; series?: number; bytes?: number; oldest?: number; retentionSeconds?: number; reporting?: number };
}

// Traces: the list has one row for each trace, one trace has its spans.

export interface TraceSummary {
  id: string;
  root: string; // service of the first span
  name: string; // operation of the first span
  start: number; // seconds since 1970
  durationMs: number;
  spans: number;
  services: string[];
  error?: boolean;
}

export interface Span {
  id: string;
  parent?: string;
  service: string;
  name: string;
  kind?: "client" | "server";
  start: number;
  durationMs: number;
  error?: boolean;
  tags?: Record<string, string>;
}

export interface Trace {
  id: string;
  spans: Span[];
}

export interface PromRange {
  status: string;
  data: { resultType: "matrix"; result: { metric: Record<string, string>; values: [number, string][] }[] };
}
