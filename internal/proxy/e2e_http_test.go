package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestBodiesThroughTheMesh: large bodies arrive whole in both directions, with a
// declared length and without.
func TestBodiesThroughTheMesh(t *testing.T) {
	big := make([]byte, 3<<20+17)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(big) // never fails
	m := newMesh(t, true, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			w.WriteHeader(400)
		}
		w.Header().Set("X-Got", fmt.Sprintf("%d %x", n, h.Sum(nil)))
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
		}
		_, _ = w.Write(big) // a client that left is the test's failure already
	})
	want := fmt.Sprintf("%d %x", len(big), sha256.Sum256(big))
	for _, c := range []struct {
		name, path string
		body       io.Reader
		expect     bool
	}{
		{"declared length", "/sized", bytes.NewReader(big), false},
		{"chunked", "/chunked", struct{ io.Reader }{bytes.NewReader(big)}, false},
		{"expect continue", "/sized", bytes.NewReader(big), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest("POST", "http://"+m.client.addr("0.0.0.0_9080").String()+c.path, c.body)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "reviews"
			if c.expect {
				req.Header.Set("Expect", "100-continue")
			}
			resp, err := m.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Got") != want || !bytes.Equal(got, big) {
				t.Errorf("%d, %v, %d bytes back, upload %q", resp.StatusCode, err, len(got), resp.Header.Get("X-Got"))
			}
		})
	}
}

func TestUpgradeThroughTheMesh(t *testing.T) {
	m := newMesh(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(400)
			return
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, rw)
	})
	c, err := net.Dial("tcp", m.client.addr("0.0.0.0_9080").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: reviews\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		t.Fatalf("%v, %v", resp, err)
	}
	io.WriteString(c, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "ping" {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestFailuresHaveReasons: what the proxies answer themselves says why, in the
// reason header, the flag of the access log and the metric.
func TestFailuresHaveReasons(t *testing.T) {
	m := newMesh(t, true, echo)
	logged := func(want string) {
		t.Helper()
		eventually(t, func() string {
			if text := m.client.log.String(); !strings.Contains(text, want) {
				return fmt.Sprintf("the log lacks %q:\n%s", want, text)
			}
			return ""
		})
	}
	dead := netip.MustParseAddrPort(func() string { l := loopback(t); defer l.Close(); return l.Addr().String() }())
	m.client.set(reviews, assignment(reviews, "disabled", dead))
	eventually(t, func() string {
		resp, _, err := m.call("GET", "/", "")
		if err != nil || resp.StatusCode != 503 || !strings.HasPrefix(resp.Header.Get("X-Lateen-Reason"), "connect_failure: ") {
			return fmt.Sprintf("%v, %v", resp, err)
		}
		return ""
	})
	logged(" 503 UF ")
	m.client.set(reviews, assignment(reviews, "disabled"))
	eventually(t, func() string {
		resp, body, err := m.call("GET", "/", "")
		if err != nil || resp.StatusCode != 503 || body != "no healthy upstream" {
			return fmt.Sprintf("%v %q, %v", resp, body, err)
		}
		return ""
	})
	logged(" 503 UH no_healthy_upstream ")
	m.client.set("9080", routeTable("r", "outbound|9080||gone.default.svc.cluster.local"))
	eventually(t, func() string {
		resp, _, err := m.call("GET", "/", "")
		if err != nil || resp.StatusCode != 503 || !strings.HasPrefix(resp.Header.Get("X-Lateen-Reason"), "no_cluster") {
			return fmt.Sprintf("%v, %v", resp, err)
		}
		return ""
	})
	logged(" 503 NC cluster_not_found ")
	eventually(t, func() string {
		text := get(t, m.client.admin+"/stats/prometheus")
		for _, flag := range []string{"UF", "UH", "NC"} {
			if series(text, "istio_requests_total", map[string]string{"response_code": "503", "response_flags": flag}) == "" {
				return "no series with response_flags " + flag
			}
		}
		return ""
	})
}

// TestDepartedClientCancels: a client that leaves ends its request at the
// application, through both sidecars.
func TestDepartedClientCancels(t *testing.T) {
	entered, cancelled := make(chan struct{}), make(chan struct{})
	m := newMesh(t, true, func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(cancelled)
	})
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+m.client.addr("0.0.0.0_9080").String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "reviews"
	go func() {
		if resp, err := m.http.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	cancel()
	select {
	case <-cancelled:
	case <-time.After(5 * time.Second):
		t.Fatal("the application's request goes on")
	}
	for _, s := range []*sidecar{m.client, m.server} {
		eventually(t, func() string {
			if text := s.log.String(); !strings.Contains(text, " 0 DC downstream_remote_disconnect ") {
				return text
			}
			return ""
		})
	}
}

// TestFaultInjection: the fault filter acts by the route's own configuration.
func TestFaultInjection(t *testing.T) {
	m := newMesh(t, true, echo)
	m.client.set("9080", strings.Replace(routeTable("r", reviews), `"decorator"`,
		`"typed_per_filter_config":{"envoy.filters.http.fault":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault","abort":{"http_status":555,"percentage":{"numerator":100}}}},"decorator"`, 1))
	eventually(t, func() string {
		resp, body, err := m.call("GET", "/", "")
		if err != nil || resp.StatusCode != 555 || body != "fault filter abort" {
			return fmt.Sprintf("%v %q, %v", resp, body, err)
		}
		return ""
	})
	eventually(t, func() string {
		if text := m.client.log.String(); !strings.Contains(text, " 555 FI fault_filter_abort ") {
			return text
		}
		return ""
	})
}
