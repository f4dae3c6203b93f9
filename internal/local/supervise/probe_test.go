package supervise

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
)

// loopback is a place whose application listens on this machine.
type loopback struct {
	Place
	listener net.Listener
}

func (loopback) Addr() netip.Addr { return netip.MustParseAddr("10.244.0.9") }

func (p loopback) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address != "10.244.0.9:7070" {
		return nil, &net.AddrError{Err: "nothing listens", Addr: address}
	}
	return new(net.Dialer).DialContext(ctx, network, p.listener.Addr().String())
}

// TestGRPCProbe: what the health service of the application says is the probe's
// answer.
func TestGRPCProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, state := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(srv, state)
	state.SetServingStatus("up", healthpb.HealthCheckResponse_SERVING)
	state.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	name := func(s string) *string { return &s }
	for what, c := range map[string]struct {
		action corev1.GRPCAction
		want   string // part of the error; "" passes
	}{
		"the server":         {corev1.GRPCAction{Port: 7070}, ""},
		"a service":          {corev1.GRPCAction{Port: 7070, Service: name("up")}, ""},
		"a service at rest":  {corev1.GRPCAction{Port: 7070, Service: name("down")}, "NOT_SERVING"},
		"an unknown service": {corev1.GRPCAction{Port: 7070, Service: name("other")}, "NotFound"},
		"another port":       {corev1.GRPCAction{Port: 7071}, "nothing listens"},
		"no port":            {corev1.GRPCAction{}, "no port"},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			check, err := newChecker(&corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &c.action}}, &corev1.Container{}, loopback{listener: l}, nil)
			if err == nil {
				err = check(ctx)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
