package origin

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// start serves until the tests end: the origin has no end but its process's.
func start(t *testing.T) Addresses {
	t.Helper()
	var a Addresses
	for _, to := range []*netip.AddrPort{&a.HTTP1, &a.HTTP2, &a.GRPC, &a.Stream} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*to = netip.MustParseAddrPort(l.Addr().String())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error, 1)
	go func() { failed <- Serve(a) }()
	deadline := time.Now().Add(5 * time.Second)
	for {
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
		if c, err := net.Dial("tcp", a.Stream.String()); err == nil {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			return a
		}
		if time.Now().After(deadline) {
			t.Fatal("the origin does not listen")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func client(h2 bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{}}}
}

func fetch(t *testing.T, c *http.Client, method, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Seen", "yes")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestOrigin(t *testing.T) {
	a := start(t)
	for _, c := range []struct {
		name, base string
		h2         bool
		prefix     int
	}{{"HTTP/1.1", "http://" + a.HTTP1.String(), false, 0}, {"HTTP/2", "http://" + a.HTTP2.String(), true, 0}, {"gRPC", "http://" + a.GRPC.String(), true, 5}} {
		t.Run(c.name, func(t *testing.T) {
			client := client(c.h2)
			defer client.CloseIdleConnections()
			for range 100 { // more than an HTTP/2 window, and more than are decoded
				if resp, body := fetch(t, client, http.MethodPost, c.base+"/x", strings.Repeat("b", 3000)); resp.StatusCode != 200 || len(body) != SmallBody+c.prefix {
					t.Fatalf("%s, %d bytes", resp.Status, len(body))
				}
			}
			client.CloseIdleConnections()
			resp, body := fetch(t, client, http.MethodGet, c.base+"/echo", "")
			if !strings.Contains(strings.ToLower(body), "x-seen: yes") {
				t.Errorf("the echo is %q", body)
			}
			if c.prefix > 0 && resp.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("trailers %v", resp.Trailer)
			}
		})
	}
	if _, body := fetch(t, client(false), http.MethodGet, "http://"+a.HTTP1.String()+"/1m", ""); len(body) != LargeBody {
		t.Errorf("%d bytes of /1m", len(body))
	}
	c, err := net.Dial("tcp", a.Stream.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.CopyN(io.Discard, c, 10<<20); err != nil {
		t.Error(err)
	}
}
