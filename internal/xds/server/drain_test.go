package server_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// over waits for the end of a stream.
func (d *delta) over(want codes.Code) {
	d.t.Helper()
	select {
	case err := <-d.ended:
		if status.Code(err) != want {
			d.t.Errorf("the stream ended with %v, want %v", err, want)
		}
	case <-time.After(5 * time.Second):
		d.t.Error("the stream goes on")
	}
}

// TestDrain: a server that goes away ends every stream with a code that lets the
// client connect again, tells the owner, and takes no new stream.
func TestDrain(t *testing.T) {
	f := start(t, nil)
	var streams []*delta
	for range 5 {
		d := f.delta(t)
		d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds})
		<-f.conns
		streams = append(streams, d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	begin := time.Now()
	f.server.Drain(ctx, 100*time.Millisecond)
	if took := time.Since(begin); took < 50*time.Millisecond || ctx.Err() != nil {
		t.Errorf("the streams ended within %v, not spread over 100ms", took)
	}
	for _, d := range streams {
		d.over(codes.Unavailable)
		select {
		case <-f.gone:
		case <-time.After(5 * time.Second):
			t.Fatal("the owner is not told")
		}
	}
	late := f.delta(t)
	late.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds})
	late.over(codes.Unavailable)
}

// TestOwnNode: the id of a node counts as its metadata does.
func TestOwnNode(t *testing.T) {
	for name, c := range map[string]struct {
		who  server.Identity
		id   string
		want codes.Code
	}{
		"its own":                {server.Identity{Namespace: "default", ServiceAccount: "reviews", Instance: "reviews-v1-0"}, "sidecar~10.0.0.1~reviews-v1-0.default~x", codes.OK},
		"not bound to a pod":     {server.Identity{Namespace: "default", ServiceAccount: "reviews"}, "sidecar~10.0.0.1~reviews-v1-0.default~x", codes.OK},
		"another pod":            {server.Identity{Namespace: "default", ServiceAccount: "reviews", Instance: "reviews-v2-0"}, "sidecar~10.0.0.1~reviews-v1-0.default~x", codes.PermissionDenied},
		"an id of another place": {server.Identity{Namespace: "default", ServiceAccount: "reviews"}, "sidecar~10.0.0.1~istiod.istio-system~x", codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, func(o *server.Options) { o.Auth = auth{id: c.who} })
			d := f.delta(t)
			n := &corev3.Node{Id: c.id, Metadata: node().Metadata}
			if err := d.stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: n, TypeUrl: cds}); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if c.want == codes.OK {
				<-f.conns
				return
			}
			d.over(c.want)
		})
	}
}

// TestStatusOfAuthenticator: an authenticator that cannot tell now is no refusal
// for good.
func TestStatusOfAuthenticator(t *testing.T) {
	f := start(t, func(o *server.Options) { o.Auth = auth{err: status.Error(codes.Unavailable, "the API server is away")} })
	f.delta(t).over(codes.Unavailable)
}
