package client_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

// url is the type of the resources here: any message does.
const url = "type.googleapis.com/google.protobuf.StringValue"

// recorder is a Handler that keeps resources and refuses bodies with "bad".
type recorder struct {
	mu  sync.Mutex
	got map[string]string
	log []string
}

func (r *recorder) Update(_ context.Context, typeURL string, added []client.Resource, removed []string) map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rejected := map[string]error{}
	for _, a := range added {
		v := &wrapperspb.StringValue{}
		if err := (&anypb.Any{TypeUrl: typeURL, Value: a.Body}).UnmarshalTo(v); err != nil {
			rejected[a.Name] = err
			continue
		}
		r.log = append(r.log, "+"+a.Name)
		if strings.Contains(v.Value, "bad") {
			rejected[a.Name] = errors.New("is bad")
			continue
		}
		r.got[a.Name] = v.Value
	}
	for _, n := range removed {
		r.log = append(r.log, "-"+n)
		delete(r.got, n)
	}
	return rejected
}

func (r *recorder) snapshot() (map[string]string, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.got), slices.Clone(r.log)
}

// start runs a client against s until the test ends.
func start(t *testing.T, s *clienttest.Server, h client.Handler) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{
		Target: s.Target(), Node: &corev3.Node{Id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local"},
		Token: func() (string, error) { return "t0", nil }, MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return c
}

// eventually waits until f gives "".
func eventually(t *testing.T, f func() string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		why := f()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(why)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r *recorder) want(want map[string]string) func() string {
	return func() string {
		got, log := r.snapshot()
		if maps.Equal(got, want) {
			return ""
		}
		return "resources " + strings.Join(log, " ") + ": not as wanted"
	}
}

func TestSubscribeUpdateRemove(t *testing.T) {
	s := clienttest.New(t)
	s.Set("a", wrapperspb.String("1"))
	s.Set("b", wrapperspb.String("1"))
	s.Set("c", wrapperspb.String("1"))
	r := &recorder{got: map[string]string{}}
	c := start(t, s, r)
	c.Subscribe(url, "a", "b")
	eventually(t, r.want(map[string]string{"a": "1", "b": "1"}))
	s.Set("a", wrapperspb.String("2"))
	eventually(t, r.want(map[string]string{"a": "2", "b": "1"}))
	c.Subscribe(url, "c")
	c.Unsubscribe(url, "b")
	eventually(t, r.want(map[string]string{"a": "2", "b": "1", "c": "1"}))
	s.Set("b", wrapperspb.String("2"))
	s.Delete(url, "c")
	eventually(t, r.want(map[string]string{"a": "2", "b": "1"}))
	if got := s.Tokens(); !slices.Equal(got, []string{"Bearer t0"}) {
		t.Errorf("tokens %q", got)
	}
	if st := c.Status(); len(st) != 1 || st[0].Resources != 1 || st[0].Rejected != "" {
		t.Errorf("status %+v", st)
	}
}

func TestWildcard(t *testing.T) {
	s := clienttest.New(t)
	s.Set("a", wrapperspb.String("1"))
	r := &recorder{got: map[string]string{}}
	c := start(t, s, r)
	c.Subscribe(url, client.Wildcard)
	eventually(t, r.want(map[string]string{"a": "1"}))
	s.Set("new", wrapperspb.String("1"))
	s.Delete(url, "a")
	eventually(t, r.want(map[string]string{"new": "1"}))
	if f := s.Firsts(); len(f) != 1 || len(f[0].ResourceNamesSubscribe) != 0 || f[0].Node.GetId() == "" {
		t.Errorf("first request %v", f)
	}
}

func TestNackNamesTheResource(t *testing.T) {
	s := clienttest.New(t)
	s.Set("good", wrapperspb.String("1"))
	s.Set("worse", wrapperspb.String("bad"))
	r := &recorder{got: map[string]string{}}
	c := start(t, s, r)
	c.Subscribe(url, client.Wildcard)
	eventually(t, r.want(map[string]string{"good": "1"}))
	eventually(t, func() string {
		if n := s.Nacks(); len(n) != 1 || n[0] != "worse: is bad" {
			return "nacks " + strings.Join(n, "; ")
		}
		return ""
	})
	s.Set("worse", wrapperspb.String("better"))
	eventually(t, r.want(map[string]string{"good": "1", "worse": "better"}))
	eventually(t, func() string { return c.Status()[0].Rejected })
}

func TestReconnectSendsOnlyDifferences(t *testing.T) {
	s := clienttest.New(t)
	s.Set("a", wrapperspb.String("1"))
	s.Set("b", wrapperspb.String("1"))
	s.Set("c", wrapperspb.String("1"))
	r := &recorder{got: map[string]string{}}
	c := start(t, s, r)
	c.Subscribe(url, client.Wildcard)
	eventually(t, r.want(map[string]string{"a": "1", "b": "1", "c": "1"}))
	s.Stop()
	eventually(t, func() string {
		if ok, err := c.Connected(); ok || err == nil {
			return "still connected"
		}
		return ""
	})
	_, before := r.snapshot()
	s.Set("b", wrapperspb.String("2"))
	s.Delete(url, "c")
	s.Start()
	eventually(t, r.want(map[string]string{"a": "1", "b": "2"}))
	_, log := r.snapshot()
	if got := log[len(before):]; !slices.Equal(got, []string{"+b", "-c"}) {
		t.Errorf("after the reconnect: %q", got)
	}
	if f := s.Firsts(); len(f) != 1 || len(f[0].InitialResourceVersions) != 3 {
		t.Errorf("first request %v", f)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]client.Options{
		"no target": {Node: &corev3.Node{Id: "x"}}, "no node": {Target: "unix:///x"},
	} {
		if _, err := client.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
