package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/xds/client"
)

func res(name, version, body string) client.Resource {
	return client.Resource{Name: name, Version: version, Body: []byte(body)}
}

func sample() Set {
	return Set{"clusters": {"a": res("a", "1", "x"), "b": res("b", "2", "")}, "routes": {"": res("", "", "y")}}
}

func TestFormat(t *testing.T) {
	text := Marshal("node", sample())
	node, set, err := Unmarshal(text)
	if err != nil || node != "node" {
		t.Fatal(node, err)
	}
	if d := cmp.Diff(sample(), set); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(text, Marshal("node", set)) {
		t.Error("equal sets give other bytes")
	}
	for i := range text {
		bad := slices.Clone(text)
		bad[i] ^= 0x40
		if _, _, err := Unmarshal(bad); err == nil {
			t.Errorf("a change of byte %d is not seen", i)
		}
		if _, _, err := Unmarshal(text[:i]); err == nil {
			t.Errorf("a file of %d bytes passes", i)
		}
	}
}

// FuzzUnmarshal: no file makes trouble; one that reads says the same again.
func FuzzUnmarshal(f *testing.F) {
	f.Add(Marshal("node", sample()))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, text []byte) {
		node, set, err := Unmarshal(text)
		if err != nil {
			// Past the checksum, what is inside must hold too.
			if len(text) > headSize {
				if node, set, err = unmarshalBody(text[headSize:]); err != nil {
					return
				}
			} else {
				return
			}
		}
		again, same, err := Unmarshal(Marshal(node, set))
		if err != nil || again != node {
			t.Fatal(again, err)
		}
		if d := cmp.Diff(set, same); d != "" {
			t.Error(d)
		}
	})
}

// TestStore: only what is in force is written, secrets only to memory, and not too
// often; the end writes what is left.
func TestStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, memory := filepath.Join(t.TempDir(), "data"), t.TempDir()
		var good atomic.Bool
		o := Options{Dir: dir, Private: []string{"secrets"}, PrivateDir: memory, Node: "n", Good: good.Load}
		s := New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		loaded := func() Set {
			t.Helper()
			set, err := New(o).Load()
			if err != nil {
				t.Fatal(err)
			}
			return set
		}
		s.Record("clusters", []client.Resource{res("a", "1", "x"), res("b", "1", "y")}, nil)
		s.Record("secrets", []client.Resource{res("key", "1", "hidden")}, nil)
		time.Sleep(10 * time.Second)
		if len(loaded()) != 0 {
			t.Error("written before it is in force")
		}
		good.Store(true)
		time.Sleep(2 * time.Second)
		want := Set{"clusters": {"a": res("a", "1", "x"), "b": res("b", "1", "y")}, "secrets": {"key": res("key", "1", "hidden")}}
		if d := cmp.Diff(want, loaded()); d != "" {
			t.Error(d)
		}
		if text, err := os.ReadFile(filepath.Join(dir, fileName)); err != nil || bytes.Contains(text, []byte("hidden")) {
			t.Error("a secret is on the disk", err)
		}
		s.Record("clusters", []client.Resource{res("a", "2", "z")}, []string{"b"})
		time.Sleep(5 * time.Second)
		if d := cmp.Diff(want, loaded()); d != "" {
			t.Errorf("written again at once: %s", d)
		}
		time.Sleep(between)
		want["clusters"] = map[string]client.Resource{"a": res("a", "2", "z")}
		if d := cmp.Diff(want, loaded()); d != "" {
			t.Error(d)
		}
		s.Record("clusters", nil, []string{"a"})
		cancel()
		<-done
		if got := loaded()["clusters"]; len(got) != 0 {
			t.Errorf("the end does not write: %v", got)
		}
		o.Node = "other"
		if set, err := New(o).Load(); err == nil || len(set) != 0 {
			t.Errorf("another proxy's configuration is used: %v", set)
		}
		o.PrivateDir = ""
		without := New(o)
		without.Record("secrets", []client.Resource{res("key", "1", "hidden")}, nil)
		if without.changed {
			t.Error("a secret is kept without a place for it")
		}
	})
}

// live is a control plane that answers when it is told to.
type live struct {
	answer chan func(h client.Handler)

	mu     sync.Mutex
	seeded map[string]map[string]string
}

func (l *live) Run(ctx context.Context, h client.Handler) error {
	for {
		select {
		case f := <-l.answer:
			f(h)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
func (l *live) Subscribe(string, ...string)   {}
func (l *live) Unsubscribe(string, ...string) {}
func (l *live) Seed(typeURL string, versions map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seeded[typeURL] = versions
}

// proxy notes what it gets, wants endpoints for its clusters, and refuses "bad".
type proxy struct {
	source *Source
	got    []string
}

func (p *proxy) Update(_ context.Context, typeURL string, added []client.Resource, removed []string) map[string]error {
	rejected := map[string]error{}
	for _, r := range added {
		p.got = append(p.got, typeURL+" "+r.Name+"="+string(r.Body))
		if r.Name == "bad" {
			rejected[r.Name] = errors.New("refused")
		}
		if typeURL == "clusters" {
			p.source.Subscribe("endpoints", r.Name)
		}
	}
	for _, n := range removed {
		p.got = append(p.got, typeURL+" -"+n)
	}
	return rejected
}

func TestSource(t *testing.T) {
	kept := Set{
		"clusters":  {"a": res("a", "1", "A"), "bad": res("bad", "1", "B")},
		"endpoints": {"a": res("a", "7", "E"), "unwanted": res("unwanted", "1", "U")},
		"unknown":   {"x": res("x", "1", "X")},
	}
	for _, x := range []struct {
		name   string
		after  time.Duration
		live   time.Duration // when the control plane answers; 0: never
		want   []string
		seeded map[string]map[string]string
	}{
		{"away", 3 * time.Second, 0, []string{"clusters a=A", "clusters bad=B", "endpoints a=E", "endpoints -bad"},
			map[string]map[string]string{"clusters": {"a": "1"}, "endpoints": {"a": "7"}}},
		{"at once", 3 * time.Second, time.Second, []string{"clusters new=N"}, map[string]map[string]string{}},
		{"late", 3 * time.Second, 5 * time.Second, []string{"clusters a=A", "clusters bad=B", "endpoints a=E", "endpoints -bad", "clusters new=N"},
			map[string]map[string]string{"clusters": {"a": "1"}, "endpoints": {"a": "7"}}},
		{"never from the cache", -1, 0, nil, map[string]map[string]string{}},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, fileName), Marshal("n", kept), 0o600); err != nil {
					t.Fatal(err)
				}
				l := &live{answer: make(chan func(client.Handler)), seeded: map[string]map[string]string{}}
				store := New(Options{Dir: dir, Node: "n"})
				p := &proxy{}
				p.source = NewSource(l, store, x.after, []string{"clusters", "endpoints"}, nil)
				p.source.Subscribe("clusters", client.Wildcard)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- p.source.Run(ctx, p) }()
				if x.live > 0 {
					time.Sleep(x.live)
					answered := make(chan struct{})
					l.answer <- func(h client.Handler) {
						h.Update(ctx, "clusters", []client.Resource{res("new", "1", "N")}, nil)
						close(answered)
					}
					<-answered
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				cancel()
				<-done
				if d := cmp.Diff(x.want, p.got); d != "" {
					t.Error(d)
				}
				if d := cmp.Diff(x.seeded, l.seeded); d != "" {
					t.Error(d)
				}
				if x.name == "late" {
					set, err := New(Options{Dir: dir, Node: "n"}).Load()
					if err != nil || len(set["clusters"]) != 2 || len(set["endpoints"]) != 1 {
						t.Errorf("kept now: %v, %v", set, err)
					}
				}
			})
		})
	}
}

// TestLate: what the proxy asks for after it started from the cache is answered from
// there, until the control plane answers.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		kept := Set{"clusters": {"a": res("a", "1", "A")}, "endpoints": {"a": res("a", "1", "E"), "late": res("late", "1", "L"), "later": res("later", "1", "M")}}
		if err := os.WriteFile(filepath.Join(dir, fileName), Marshal("n", kept), 0o600); err != nil {
			t.Fatal(err)
		}
		l := &live{answer: make(chan func(client.Handler)), seeded: map[string]map[string]string{}}
		p := &proxy{}
		p.source = NewSource(l, New(Options{Dir: dir, Node: "n"}), time.Second, []string{"clusters", "endpoints"}, nil)
		p.source.Subscribe("clusters", client.Wildcard)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.source.Run(ctx, p) }()
		time.Sleep(2 * time.Second)
		p.source.Subscribe("endpoints", "late", "none")
		time.Sleep(time.Second)
		l.answer <- func(h client.Handler) { h.Update(ctx, "clusters", []client.Resource{res("a", "2", "A2")}, nil) }
		time.Sleep(time.Second)
		p.source.Subscribe("endpoints", "later")
		time.Sleep(time.Second)
		synctest.Wait()
		cancel()
		<-done
		if d := cmp.Diff([]string{"clusters a=A", "endpoints a=E", "endpoints late=L", "endpoints -none", "clusters a=A2"}, p.got); d != "" {
			t.Error(d)
		}
	})
}

func BenchmarkMarshal(b *testing.B) {
	set := Set{"clusters": {}}
	for i := range 1000 {
		name := fmt.Sprint("outbound|80||service-", i)
		set["clusters"][name] = res(name, "0123456789abcdef", strings.Repeat("x", 1000))
	}
	b.ReportAllocs()
	for b.Loop() {
		Marshal("n", set)
	}
}
