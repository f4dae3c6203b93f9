package forward

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
)

// server is an API server that knows SPDY only: it refuses WebSockets, as those
// before v1.30 do, and has pods that answer by port.
func server(t *testing.T) *Forwarder {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.Error(w, "SPDY only", http.StatusForbidden)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/ghost") {
			http.Error(w, `pods "ghost" not found`, http.StatusNotFound)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			return
		}
		streams := make(chan httpstream.Stream, 2)
		c := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if c == nil {
			return
		}
		defer c.Close()
		serve(streams)
		<-c.CloseChan()
	}))
	t.Cleanup(s.Close)
	return &Forwarder{config: &rest.Config{Host: s.URL}, pods: func(_, pod string) *url.URL {
		u, err := url.Parse(s.URL + "/" + pod)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}}
}

// serve answers HTTP at port 80; nobody listens at 81; port 82 echoes.
func serve(streams <-chan httpstream.Stream) {
	var data, failures httpstream.Stream
	for data == nil || failures == nil {
		s := <-streams
		if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
			failures = s
		} else {
			data = s
		}
	}
	switch data.Headers().Get(corev1.PortHeader) {
	case "80":
		if _, err := http.ReadRequest(bufio.NewReader(data)); err == nil {
			io.WriteString(data, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	case "81":
		io.WriteString(failures, "an error occurred forwarding 81 -> 81: dial tcp4 127.0.0.1:81: connect: connection refused")
	case "82":
		io.Copy(data, data)
	}
	failures.Close()
	data.Close()
}

func TestTransport(t *testing.T) {
	f := server(t)
	transport := f.Transport("default", "web", 80)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("http://whatever/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestNobodyListens: the failure of the pod's side is told, not a plain end.
func TestNobodyListens(t *testing.T) {
	c, err := server(t).Dial(t.Context(), "default", "web", 81)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "default/web:81") || !strings.Contains(err.Error(), "nobody listens there") {
		t.Errorf("reading: %v", err)
	}
}

func TestNoPod(t *testing.T) {
	if _, err := server(t).Dial(t.Context(), "default", "ghost", 80); err == nil || !strings.Contains(err.Error(), "the pod ghost in the namespace default") || !strings.Contains(err.Error(), "not found") {
		t.Error(err)
	}
}

func TestDialEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := server(t).Dial(ctx, "default", "web", 82); err == nil {
		t.Error("a connection though the context has ended")
	}
}

// TestServe: bytes go both ways, and an end of one side is passed on.
func TestServe(t *testing.T) {
	f := server(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- f.Serve(ctx, l, "default", "web", 82, func(err error) { t.Error(err) })
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "there and back"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(c); err != nil || string(text) != "there and back" {
		t.Errorf("%q, %v", text, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
