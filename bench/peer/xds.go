package peer

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/proc"
)

// node gives the node of a side, as a sidecar's.
func (s *Site) node(one side) map[string]any {
	name := fmt.Sprintf("%s-%d", one.account(), s.n)
	return map[string]any{
		"id": "sidecar~10.244.0.1~" + name + ".default~default.svc.cluster.local", "cluster": one.account() + ".default",
		"metadata": map[string]any{
			"NAME": name, "NAMESPACE": "default", "WORKLOAD_NAME": one.account(), "SERVICE_ACCOUNT": one.account(), "CLUSTER_ID": "Kubernetes",
			"MESH_ID": "cluster.local", "ISTIO_VERSION": "1.31.0-lateen", "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/" + one.account(),
			"LABELS": map[string]any{"app": one.account(), "version": "v1", "service.istio.io/canonical-name": one.account(), "service.istio.io/canonical-revision": "v1"},
		},
	}
}

// resources gives the control plane what a side shall have, and returns its id.
func (s *Site) resources(one side, istio bool) (id string, node map[string]any, err error) {
	c := mesh.Config{
		Side: one.side, Protocol: one.plan.Protocol, Istio: istio, RBAC: one.plan.RBAC, Listen: one.listen, TLS: one.secure, Upstream: one.upstream,
		Client: ClientAccount, Server: ServerAccount,
	}
	if one.plan.Log {
		c.LogPath = one.logPath()
	}
	all, err := c.Build()
	if err != nil {
		return "", nil, err
	}
	pair, err := s.Authority.Issue(one.account())
	if err != nil {
		return "", nil, err
	}
	secrets, err := mesh.Secrets(pair, s.Authority.RootPEM)
	if err != nil {
		return "", nil, err
	}
	node = s.node(one)
	id = node["id"].(string)
	return id, node, s.Control.Set(id, append(all, secrets...))
}

func startLateen(s *Site, one side) (*proc.Process, string, error) {
	id, node, err := s.resources(one, true)
	if err != nil {
		return nil, "", err
	}
	token, err := one.write("token", "bench")
	if err != nil {
		return nil, "", err
	}
	admin, err := freePort()
	if err != nil {
		return nil, "", err
	}
	return s.startXDS(one, id, Lateen, admin, map[string]any{
		"xds": "unix://" + s.Control.Socket, "tokenFile": token, "node": node, "admin": admin.String(), "concurrency": one.plan.Concurrency, "logLevel": "warning",
	}, func(path string) []string { return []string{s.Programs[Lateen], "run", "--config", path} })
}

func startEnvoy(s *Site, one side) (*proc.Process, string, error) {
	id, node, err := s.resources(one, false)
	if err != nil {
		return nil, "", err
	}
	admin, err := freePort()
	if err != nil {
		return nil, "", err
	}
	type m = map[string]any
	ads := m{"ads": m{}, "resource_api_version": "V3", "initial_fetch_timeout": "10s"}
	return s.startXDS(one, id, Envoy, admin, m{
		"node":  node,
		"admin": m{"address": m{"socket_address": m{"address": "127.0.0.1", "port_value": admin.Port()}}},
		"dynamic_resources": m{
			"ads_config": m{"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": []m{{"envoy_grpc": m{"cluster_name": "xds"}}}},
			"cds_config": ads, "lds_config": ads,
		},
		"static_resources": m{"clusters": []m{{
			"name": "xds", "type": "STATIC", "connect_timeout": "1s",
			"typed_extension_protocol_options": m{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": m{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": m{"http2_protocol_options": m{}},
			}},
			"load_assignment": m{"cluster_name": "xds", "endpoints": []m{{"lb_endpoints": []m{{"endpoint": m{"address": m{"pipe": m{"path": s.Control.Socket}}}}}}}},
		}}},
	}, func(path string) []string {
		return []string{s.Programs[Envoy], "-c", path, "--concurrency", strconv.Itoa(one.plan.Concurrency), "-l", "error", "--use-dynamic-base-id", "--disable-hot-restart"}
	})
}

// startXDS starts a proxy with a bootstrap file and waits until it serves.
func (s *Site) startXDS(one side, id, kind string, admin netip.AddrPort, bootstrap map[string]any, args func(path string) []string) (*proc.Process, string, error) {
	text, err := json.MarshalIndent(bootstrap, "", " ")
	if err != nil {
		return nil, "", err
	}
	path, err := one.write("bootstrap.json", string(text))
	if err != nil {
		return nil, "", err
	}
	p, err := proc.Start(proc.Spec{Name: kind, Cores: one.plan.Cores, Args: args(path), Log: one.dir + "/log"})
	if err != nil {
		return nil, "", err
	}
	base := "http://" + admin.String()
	err = p.WaitFor(20*time.Second, func() error {
		if err := s.Control.Refused(id); err != nil {
			return err
		}
		return readyPage(base)
	})
	if err == nil {
		err = one.ready(p)
	}
	if err == nil {
		err = s.Control.Refused(id)
	}
	if err != nil {
		p.Stop()
		return nil, "", err
	}
	return p, base, nil
}
