package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestMeshHTTP2: gRPC between two sidecars over mutual TLS: the client's offers
// istio-h2 or h2, and the server's chooses its chain by that, strict and permissive.
func TestMeshHTTP2(t *testing.T) {
	for name, c := range map[string]struct {
		strict bool
		alpn   string // of the server's chain
	}{
		"as Istio": {false, `["h2","http/1.1"]`}, "strict": {true, `["h2","http/1.1"]`}, "istio-h2": {true, `["istio-h2","istio-http/1.1"]`},
	} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			app := calls(t, chatter)
			server := newSidecar(t, "reviews", ca.identity(t, "reviews"), func(s *sidecar) {
				s.set("inbound|9080||", cluster("inbound|9080||", "h2", app))
				l := strings.Replace(inbound(c.strict, ""), `["istio-http/1.1","http/1.1"]`, c.alpn, 1)
				s.set("virtualInbound", strings.Replace(l, `["istio","istio-http/1.0","istio-http/1.1"]`, `["istio","istio-http/1.0","istio-http/1.1","istio-h2"]`, 1))
			})
			h := &hop{sidecar: newSidecar(t, "productpage", ca.identity(t, "productpage"), func(s *sidecar) {
				s.set(reviews, asHTTP2(eds(reviews)))
				s.set(reviews, assignment(reviews, "istio", server.addr("virtualInbound")))
				s.set("0.0.0.0_9080", outbound(""))
				s.set("9080", strings.Replace(routeTable("default", reviews), `["reviews","reviews:9080"]`, `["*"]`, 1))
			})}
			h.base = "http://" + h.addr("0.0.0.0_9080").String()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			conn := h.dialGRPC(t)
			for i := range kinds {
				send := []string{"a", "b"}
				if !kinds[i].ClientStreams {
					send = send[:1]
				}
				if got, _, err := converse(ctx, conn, &kinds[i], send...); err != nil || len(got) == 0 {
					t.Errorf("%s: %v, %v", kinds[i].StreamName, got, err)
				}
			}
			_, _, err := converse(ctx, conn, &kinds[0], "fail")
			if status.Code(err) != codes.FailedPrecondition {
				t.Errorf("%v", err)
			}
			eventually(t, func() string {
				// The server's sidecar saw HTTP/2 within mutual TLS.
				if text := server.log.String(); strings.Count(text, ` HTTP/2" 200 - via_upstream`) != 5 || !strings.Contains(text, "outbound_.9080_._.reviews") {
					return text
				}
				return ""
			})
			if c.strict {
				return
			}
			plain := &hop{sidecar: server, base: "http://" + server.addr("virtualInbound").String()}
			if got, _, err := converse(ctx, plain.dialGRPC(t), &kinds[0], "a"); err != nil || len(got) != 1 {
				t.Errorf("plain text: %v, %v", got, err)
			}
		})
	}
}

// TestBackPressure: what one side does not read, the other cannot send: nothing
// piles up in the proxy.
func TestBackPressure(t *testing.T) {
	const total, bound = 64 << 20, 32 << 20 // the kernel's buffers take some on the way
	read := make(chan struct{})
	each(t, func(w http.ResponseWriter, r *http.Request) {
		<-read
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}, func(t *testing.T, h *hop, _ combination) {
		t.Run("request", func(t *testing.T) {
			read = make(chan struct{})
			var sent counter
			got := make(chan string, 1)
			go func() {
				req, _ := http.NewRequest("POST", h.base+"/", io.TeeReader(bytes.NewReader(make([]byte, total)), &sent))
				resp, err := h.client.Do(req)
				if err != nil {
					got <- err.Error()
					return
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				got <- fmt.Sprintf("%s %v", b, err)
			}()
			if n := sent.rest(); n == 0 || n > bound {
				t.Errorf("%d bytes were taken of a request that nobody reads", n)
			}
			close(read)
			if s := within(t, got, "no answer"); s != fmt.Sprintf("%d <nil>", total) {
				t.Error(s)
			}
		})
	})
}

// counter counts bytes.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// rest waits until the number has stopped to grow.
func (c *counter) rest() int64 {
	for last := int64(-1); ; {
		n := c.n.Load()
		if n == last && n > 0 {
			return n
		}
		last = n
		time.Sleep(150 * time.Millisecond)
	}
}
