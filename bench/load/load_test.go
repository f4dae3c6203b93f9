package load

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAnswer(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello"
	for cut := range len(good) {
		var a answer
		for range 2 { // twice, as keep-alive does
			done, err := a.take([]byte(good[:cut]))
			if err != nil || done {
				t.Fatalf("after %d bytes: %v, %v", cut, done, err)
			}
			if done, err = a.take([]byte(good[cut:])); err != nil || !done {
				t.Fatalf("cut at %d: %v, %v", cut, done, err)
			}
		}
	}
	for name, text := range map[string]string{
		"status": "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "no length": "HTTP/1.1 200 OK\r\n\r\n", "bad length": "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"too much": good + "H", "endless": strings.Repeat("x", longestHead+1),
	} {
		if _, err := new(answer).take([]byte(text)); err == nil {
			t.Errorf("%s: taken for good", name)
		}
	}
}

// drive runs a generator in this process.
func drive(t *testing.T, s Spec) Result {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Main(t.Context(), string(text), strings.NewReader("\n"), &out); err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(bytes.TrimSpace(out.Bytes()), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return r
}

func TestOpenLoop(t *testing.T) {
	slow := make(chan struct{}, 1)
	slow <- struct{}{}
	var status atomic.Int32
	status.Store(http.StatusOK)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-slow:
			default:
				time.Sleep(30 * time.Millisecond)
			}
		}
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, "hello")
	}))
	defer s.Close()
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	spec := Spec{Kind: "open", Addr: addr, Connections: 4, Idle: 3, Rate: 1000, Length: 200 * time.Millisecond, Request: "GET / HTTP/1.1\r\nHost: x\r\n\r\n"}
	r := drive(t, spec)
	if r.Error != "" || r.Requests != 200 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 {
		t.Errorf("%+v", r)
	}
	// One connection that answers every 30 ms is asked every 10 ms: the queue grows,
	// and the time that requests spend in it counts.
	spec.Connections, spec.Idle, spec.Rate, spec.Request = 1, 0, 100, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
	if r = drive(t, spec); r.Error != "" || r.Requests != 20 || r.Max < 250*time.Millisecond {
		t.Errorf("%+v", r)
	}
	status.Store(http.StatusServiceUnavailable)
	if r = drive(t, spec); !strings.Contains(r.Error, "503") {
		t.Errorf("%+v", r)
	}
}

func TestDrain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.CopyN(c, zeros{}, 1<<40) }()
		}
	}()
	r := drive(t, Spec{Kind: "drain", Addr: netip.MustParseAddrPort(l.Addr().String()), Connections: 2, Length: 50 * time.Millisecond})
	if r.Error != "" || r.Bytes < 1<<20 {
		t.Errorf("%+v", r)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
