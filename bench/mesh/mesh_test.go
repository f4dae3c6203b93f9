package mesh

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"path/filepath"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// TestBuild: every combination is readable xDS.
func TestBuild(t *testing.T) {
	a, err := NewAuthority("bench root")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(filepath.Join(t.TempDir(), "s"), a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	addr := netip.MustParseAddrPort("127.0.0.1:80")
	for _, side := range []Side{Inbound, Outbound} {
		for _, p := range []Protocol{HTTP1, HTTP2, GRPC, TCP} {
			for _, istio := range []bool{false, true} {
				for _, log := range []string{"", "/log"} {
					c := Config{Side: side, Protocol: p, Istio: istio, RBAC: true, LogPath: log, Listen: addr, TLS: addr, Upstream: addr, Client: "c", Server: "s"}
					r, err := c.Build()
					if err != nil {
						t.Fatal(err)
					}
					if err := s.Set("n", r); err != nil {
						t.Errorf("%+v: %v", c, err)
					}
					if want := 4; p != TCP && len(r) != want {
						t.Errorf("%+v: %d resources, want %d", c, len(r), want)
					}
				}
			}
		}
	}
}

func TestServer(t *testing.T) {
	a, err := NewAuthority("bench root")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.Issue("reviews")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pair.Cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || len(leaf.URIs) != 1 || leaf.URIs[0].String() != SPIFFE("reviews") {
		t.Fatalf("%v, %v", leaf.URIs, err)
	}
	s, err := NewServer(filepath.Join(t.TempDir(), "s"), a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	secrets, err := Secrets(pair, a.RootPEM)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set("n", secrets); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+s.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	st, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	if err := st.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "n"}, TypeUrl: url, ResourceNamesSubscribe: []string{"default", "none"}}); err != nil {
		t.Fatal(err)
	}
	r, err := st.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Resources) != 1 || r.Resources[0].Name != "default" || len(r.RemovedResources) != 1 || r.RemovedResources[0] != "none" {
		t.Errorf("%v", r)
	}
	if err := s.Refused("n"); err != nil {
		t.Error(err)
	}
}
