// What a new object starts from.

const object = (apiVersion: string, kind: string, name: string, spec: string) => `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata:\n  name: ${name}\n  namespace: default\nspec:\n${spec.replace(/^/gm, "  ")}\n`;

export const templates: { name: string; yaml: string }[] = [
  { name: "VirtualService", yaml: object("networking.istio.io/v1", "VirtualService", "my-service", "hosts:\n- my-service\nhttp:\n- route:\n  - destination:\n      host: my-service") },
  { name: "DestinationRule", yaml: object("networking.istio.io/v1", "DestinationRule", "my-service", "host: my-service\nsubsets:\n- name: v1\n  labels:\n    version: v1") },
  { name: "Gateway", yaml: object("networking.istio.io/v1", "Gateway", "my-gateway", "selector:\n  istio: ingressgateway\nservers:\n- port:\n    number: 80\n    name: http\n    protocol: HTTP\n  hosts:\n  - example.com") },
  { name: "ServiceEntry", yaml: object("networking.istio.io/v1", "ServiceEntry", "my-external", "hosts:\n- api.example.com\nports:\n- number: 443\n  name: tls\n  protocol: TLS\nresolution: DNS\nlocation: MESH_EXTERNAL") },
  { name: "PeerAuthentication", yaml: object("security.istio.io/v1", "PeerAuthentication", "default", "mtls:\n  mode: STRICT") },
  { name: "AuthorizationPolicy", yaml: object("security.istio.io/v1", "AuthorizationPolicy", "my-policy", "selector:\n  matchLabels:\n    app: my-service\naction: ALLOW\nrules:\n- from:\n  - source:\n      principals:\n      - cluster.local/ns/default/sa/caller") },
  { name: "Sidecar", yaml: object("networking.istio.io/v1", "Sidecar", "default", "egress:\n- hosts:\n  - ./*\n  - istio-system/*") },
];
