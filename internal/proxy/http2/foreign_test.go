package http2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"sync"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Go's own client against our server.
func TestForeignClient(t *testing.T) {
	port := listen(t, http2.ServerOptions{}, func(s *stream.Stream) (*stream.Response, error) {
		h := &stream.Head{}
		h.AddString(stream.N("Link"), "</a>")
		if err := s.Inform(103, h); err != nil {
			return nil, err
		}
		r := &stream.Response{Status: 200, Length: s.Request.Length, Body: s.Request.Body}
		r.AddString(stream.N("x-path"), string(s.Request.Path))
		return r, nil
	})
	tr := &xhttp2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for size := range 4 {
				if err := foreignExchange(tr, port, i, bytes.Repeat([]byte("0123456789"), size*size*20000)); err != nil {
					t.Errorf("exchange %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}

func foreignExchange(tr http.RoundTripper, port uint16, i int, body []byte) error {
	hints := 0
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code == 103 && h.Get("Link") == "</a>" {
			hints++
		}
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("http://127.0.0.1:%d/%d", port, i), struct{ io.Reader }{bytes.NewReader(body)})
	if err != nil {
		return err
	}
	req.Trailer = http.Header{"Sum": {"42"}}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, body) {
		return fmt.Errorf("%d bytes of %d, %w", len(got), len(body), err)
	}
	if resp.Trailer.Get("Sum") != "42" || resp.Header.Get("X-Path") != fmt.Sprintf("/%d", i) || hints != 1 {
		return fmt.Errorf("trailer %v, head %v, %d hints", resp.Trailer, resp.Header, hints)
	}
	return nil
}

// Our client against Go's own server.
func TestForeignServer(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		w.Header().Set("X-Method", r.Method)
		w.Header().Set("Trailer", "Sum")
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("Sum", r.Trailer.Get("Sum"))
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	conn, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, netip.MustParseAddrPort(srv.Listener.Addr().String()), rawio.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := http2.NewClientConn(conn, http2.ClientOptions{})
	defer c.Close(stream.Reason{})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for size := range 4 {
				if err := ownExchange(c, bytes.Repeat([]byte("0123456789"), size*size*20000)); err != nil {
					t.Errorf("exchange %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}

func ownExchange(c *http2.ClientConn, body []byte) error {
	x, err := c.Open(&stream.Stream{})
	if err != nil {
		return err
	}
	defer x.Release()
	r := benchRequest()
	r.Method, r.Length = []byte("POST"), -1
	r.AddString(stream.Trailer, "sum") // or Go's server drops them
	if err := x.Send(r, nil, false); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		err := x.Write(body, false)
		if err == nil {
			h := &stream.Head{}
			h.AddRaw([]byte("Sum"), []byte("42"))
			err = x.Trailers(h)
		}
		sent <- err
	}()
	resp, err := x.Receive()
	if err != nil {
		return err
	}
	if resp.Status != 103 || string(resp.Get(stream.N("link"))) != "</a>" {
		return fmt.Errorf("first %d", resp.Status)
	}
	if resp, err = x.Receive(); err != nil {
		return err
	}
	got, err := readAll(resp.Body)
	if err != nil || !bytes.Equal(got, body) {
		return fmt.Errorf("%d bytes of %d, %w", len(got), len(body), err)
	}
	if tr := resp.Body.Trailers(); tr == nil || string(tr.Get(stream.N("sum"))) != "42" || string(resp.Get(stream.N("x-method"))) != "POST" {
		return fmt.Errorf("trailers %v", tr)
	}
	return <-sent
}
