package proxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// allowedDifferences are messages that we read otherwise than another proxy, or take
// where every other refuses, on purpose.
var allowedDifferences = []struct {
	why string
	is  func(raw []byte, them string) bool
}{
	{"an absolute target goes on as path and Host, which HAProxy and nginx leave as they are or normalise", func(raw []byte, _ string) bool {
		return bytes.Contains(raw, []byte("://"))
	}},
	{"we let no tunnel begin that is not configured, and serve the request without: others refuse or pass it on", func(raw []byte, _ string) bool {
		return upgrade.Match(raw)
	}},
	{"nginx merges and decodes paths", func(raw []byte, them string) bool {
		return them == "nginx" && oddPath.Match(raw)
	}},
	{"Envoy and HAProxy take a fragment off or refuse it, as we do; nginx takes it off", func(raw []byte, _ string) bool {
		return bytes.Contains(raw, []byte("#"))
	}},
	{"methods are tokens to us, whether we know them or not", func(raw []byte, _ string) bool {
		return !knownMethod.Match(raw)
	}},
	{"net/http, which is behind all, refuses an expectation that it does not know before its handler is asked; nginx takes it out", func(raw []byte, _ string) bool {
		return expect.Match(raw)
	}},
	{"an answer to HTTP/1.0 needs it to be allowed, which the others do by themselves", func(raw []byte, _ string) bool {
		return bytes.Contains(raw, []byte("HTTP/1.0"))
	}},
}

var (
	expect      = regexp.MustCompile(`(?i)expect`)
	upgrade     = regexp.MustCompile(`(?i)upgrade`)
	oddPath     = regexp.MustCompile(`//|/\.|%`)
	knownMethod = regexp.MustCompile(`^(\r\n)?(GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE) `)
)

// TestDifferential sends the same messages through the proxy and through other
// proxies, each with a server of its own behind it: where two of them take a message
// for requests, these are the same requests with the same content; and what we take,
// somebody else takes too. In short the messages are the attacks; with LATEEN_DEEP=1
// they are changed at random for a minute as well.
func TestDifferential(t *testing.T) {
	ours := newRecorder(t)
	s := plainSidecar(t, ours.addr)
	d := &differential{t: t, ours: &line{name: "lateen", r: ours, to: s.addr("plain")}}
	for _, x := range []struct {
		name  string
		start func(testing.TB, netip.AddrPort) netip.AddrPort
	}{{"nginx", nginxTo}, {"haproxy", haproxyTo}, {"envoy", envoyTo}} {
		t.Run(x.name, func(sub *testing.T) { // to be skipped by itself
			r := newRecorder(t)
			to := x.start(both{sub, t}, r.addr)
			d.others = append(d.others, &line{name: x.name, r: r, to: to})
		})
	}
	if len(d.others) == 0 {
		t.Skip("no other proxy is installed: there is nothing to compare with")
	}
	var list []string
	for _, a := range attacks() {
		list = append(list, a.raw)
	}
	d.batch(list)
	if os.Getenv("LATEEN_DEEP") == "" {
		return
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		changed := make([]string, 64)
		for i := range changed {
			changed[i] = change(r, list[r.IntN(len(list))], list[r.IntN(len(list))])
		}
		d.batch(changed)
	}
	t.Logf("%d messages, %d taken by us, %d by others alone", d.sent, d.taken, d.stricter)
}

// both skips the one test, and cleans up with the other.
type both struct {
	*testing.T
	owner *testing.T
}

func (b both) Cleanup(f func()) { b.owner.Cleanup(f) }
func (b both) TempDir() string  { return b.owner.TempDir() }

// line is one proxy with its server.
type line struct {
	name string
	r    *recorder
	to   netip.AddrPort
}

type differential struct {
	t                     *testing.T
	ours                  *line
	others                []*line
	sent, taken, stricter int
}

// batch sends messages to all, a few at a time.
func (d *differential) batch(list []string) {
	gate := make(chan struct{}, 32)
	var wg sync.WaitGroup
	for i, raw := range list {
		for _, l := range append(d.others[:len(d.others):len(d.others)], d.ours) {
			gate <- struct{}{}
			wg.Go(func() {
				defer func() { <-gate }()
				send(d.t, l.to, d.message(raw, i), 150*time.Millisecond)
			})
		}
	}
	wg.Wait()
	for i, raw := range list {
		d.compare(raw, i)
	}
	d.sent += len(list)
}

// message gives the message a mark of its own.
func (d *differential) message(raw string, i int) []byte {
	return []byte(strings.ReplaceAll(raw, "MARK", d.mark(i)))
}

func (d *differential) mark(i int) string { return fmt.Sprintf("%04x", d.sent+i) }

func (d *differential) compare(raw string, i int) {
	d.t.Helper()
	whole := func(l *line) (list []string) {
		for _, a := range l.r.with(d.mark(i)) {
			if a.whole {
				list = append(list, fmt.Sprintf("%s %s %q", a.method, a.target, a.content))
			}
		}
		return list
	}
	ours, took := whole(d.ours), false
	for _, l := range d.others {
		theirs := whole(l)
		took = took || len(theirs) > 0
		n := min(len(ours), len(theirs)) // who took less was stricter with the rest
		if !slices.Equal(ours[:n], theirs[:n]) && !allowed(raw, l.name) {
			d.t.Errorf("%s took %q, we took %q\nof %q", l.name, theirs, ours, raw)
		}
	}
	switch {
	case len(ours) > 0 && !took && !allowed(raw, ""):
		d.t.Errorf("nobody else took anything, we took %q\nof %q", ours, raw)
	case len(ours) > 0:
		d.taken++
	case took:
		d.stricter++
	}
}

func allowed(raw, them string) bool {
	return slices.ContainsFunc(allowedDifferences, func(x struct {
		why string
		is  func(raw []byte, them string) bool
	}) bool {
		return x.is([]byte(raw), them)
	})
}

// change makes a few random changes, of the kind that parsers stumble over.
func change(r *rand.Rand, raw, other string) string {
	b := []byte(raw)
	bits := []string{"\r", "\n", "\r\n", " ", "\t", "\x00", "\x0b", ":", ",", ";", "0", "1", "a", "\"", "-", "+", "\x7f", "\xff", "chunked", "Content-Length: 5\r\n",
		"Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "X: y\r\n", "Connection: close\r\n", "Expect: 100-continue\r\n", "5\r\nabcde\r\n"}
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b))
		if mark := bytes.Index(b, []byte("MARK")); mark >= 0 && at > mark-2 && at < mark+4 {
			continue // or it could not be found again
		}
		switch r.IntN(5) {
		case 0:
			b = slices.Delete(b, at, at+1)
		case 1:
			b = slices.Insert(b, at, []byte(bits[r.IntN(len(bits))])...)
		case 2:
			b[at] = bits[r.IntN(17)][0]
		case 3:
			lines := bytes.SplitAfter(b, []byte("\n"))
			i, j := r.IntN(len(lines)), r.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			b = bytes.Join(lines, nil)
		case 4:
			if cut := strings.Index(other, "\r\n\r\n"); cut > 0 && r.IntN(4) == 0 {
				b = append(b, other[cut+4:]...)
			}
		}
		if len(b) == 0 {
			return raw
		}
	}
	return string(b)
}
