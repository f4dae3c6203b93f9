package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// TestChangeUnderHTTP2: a change that replaces a filter chain drains its connections;
// requests of several clients, which cannot be made again, all succeed, and a stream
// that is open goes on.
func TestChangeUnderHTTP2(t *testing.T) {
	app := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.URL.Path == "/stream" {
			rc.Flush()
			for lines := bufio.NewScanner(r.Body); lines.Scan(); rc.Flush() {
				fmt.Fprintln(w, lines.Text())
			}
			return
		}
		b, _ := io.ReadAll(r.Body)
		time.Sleep(3 * time.Millisecond)
		w.Write(b)
	}
	h := newHop(t, combination{"h2", "h2"}, server(t, http.HandlerFunc(app)), "")
	// net/http gives requests up that find their connection drained before they are
	// written; this client writes them to another one.
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	h.client = &http.Client{Transport: tr}
	up, in := io.Pipe()
	resp := h.do(t, "POST", "/stream", up)
	lines := bufio.NewReader(resp.Body)

	var stop atomic.Bool
	var made atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				text := fmt.Sprint(i, " ", n)
				// Without GetBody the client cannot make the request again by itself.
				req, _ := http.NewRequest("POST", h.base+"/", struct{ io.Reader }{strings.NewReader(text)})
				resp, err := h.client.Do(req)
				if err != nil {
					t.Errorf("request %s: %v", text, err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(b) != text {
					t.Errorf("request %s: %d %q, %v", text, resp.StatusCode, b, err)
				}
				made.Add(1)
			}
		})
	}
	for i := range 5 {
		before := made.Load()
		h.set("0.0.0.0_9080", outbound(fmt.Sprintf(`"server_name":"v%d",`, i)))
		eventually(t, func() string {
			resp := h.do(t, "GET", "/", nil)
			if v := resp.Header.Get("Server"); v != fmt.Sprint("v", i) || made.Load() < before+50 {
				return "the change is not in force: " + v
			}
			return ""
		})
		fmt.Fprintln(in, i)
		if got, err := lines.ReadString('\n'); err != nil || got != fmt.Sprintln(i) {
			t.Fatalf("the open stream: %q, %v", got, err)
		}
	}
	stop.Store(true)
	wg.Wait()
	in.Close()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestDrainUnderHTTP2: the proxy's end lets requests finish that are under way, and
// does not wait for clients that keep their connection.
func TestDrainUnderHTTP2(t *testing.T) {
	begun := make(chan struct{}, 1)
	h := newHop(t, combination{"h2", "h1"}, server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		time.Sleep(300 * time.Millisecond)
		io.WriteString(w, "done")
	})), "")
	h.set("0.0.0.0_9080", strings.Replace(outbound(""), `"OUTBOUND"`, `"INBOUND"`, 1)) // others may go on longer
	eventually(t, func() string {
		if l := h.Listeners(); len(l) != 1 || l[0].Config.Dir != stream.Inbound {
			return "the listener is not changed"
		}
		return ""
	})
	type result struct {
		text string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		resp, err := h.client.Get(h.base + "/")
		if err != nil {
			got <- result{"", err}
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		got <- result{string(b), err}
	}()
	within(t, begun, "the request did not arrive")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	h.Drain(ctx)
	if ctx.Err() != nil {
		t.Error("an idle connection was waited for")
	}
	if r := within(t, got, "no answer"); r.text != "done" || r.err != nil {
		t.Errorf("%+v", r)
	}
}
