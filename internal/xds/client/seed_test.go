package client_test

import (
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

// TestSeed: what is there from an earlier run is not sent again, what has changed is,
// and what is gone is said, also when a stream is open already.
func TestSeed(t *testing.T) {
	for _, open := range []bool{false, true} {
		t.Run(map[bool]string{false: "before", true: "open"}[open], func(t *testing.T) {
			s := clienttest.New(t)
			s.Set("same", wrapperspb.String("s")) // version 1
			s.Set("changed", wrapperspb.String("new"))
			r := &recorder{got: map[string]string{"same": "kept", "changed": "old", "gone": "g"}}
			if !open {
				s.Stop()
			}
			c := start(t, s, r)
			if open {
				eventually(t, func() string {
					if ok, _ := c.Connected(); ok || len(s.Tokens()) > 0 {
						return ""
					}
					return "no stream"
				})
			}
			c.Subscribe(url, client.Wildcard)
			if open {
				eventually(t, r.want(map[string]string{"same": "s", "changed": "new", "gone": "g"}))
			}
			c.Seed(url, map[string]string{"same": "1", "changed": "0", "gone": "1"})
			if !open {
				s.Start()
			}
			same := map[bool]string{false: "kept", true: "s"}[open]
			eventually(t, r.want(map[string]string{"same": same, "changed": "new"}))
		})
	}
}

// TestSetNode: a new node is told on a new stream; what was received stays.
func TestSetNode(t *testing.T) {
	s := clienttest.New(t)
	s.Set("a", wrapperspb.String("1"))
	r := &recorder{got: map[string]string{}}
	c := start(t, s, r)
	c.Subscribe(url, client.Wildcard)
	eventually(t, r.want(map[string]string{"a": "1"}))
	c.SetNode(&corev3.Node{Id: "sidecar~10.0.0.2~a.b~b.svc.cluster.local"})
	eventually(t, func() string {
		for _, f := range s.Firsts() {
			if f.GetNode().GetId() == "sidecar~10.0.0.2~a.b~b.svc.cluster.local" && f.GetInitialResourceVersions()["a"] == "1" {
				return ""
			}
		}
		return "the new node is not told"
	})
	s.Set("b", wrapperspb.String("2"))
	eventually(t, r.want(map[string]string{"a": "1", "b": "2"}))
	if _, log := r.snapshot(); slices.Index(log, "+a") != 0 || slices.Contains(log[1:], "+a") {
		t.Errorf("%q: a was sent again", log)
	}
}
