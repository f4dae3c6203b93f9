package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/bench/load"
	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/origin"
	"github.com/lateen-mesh/lateen/bench/peer"
)

// verify makes one request of each sort through a proxy, before anything is
// measured: the answers, what the proxy made of the request, and in the two-sided
// shape that the server's side knows the client's.
func (l *lab) verify(ctx context.Context, r *peer.Running) error {
	if r.Plan.Protocol == mesh.TCP {
		return verifyStream(r)
	}
	addr, tlsConfig := r.Entry, (*tls.Config)(nil)
	if r.Plan.Shape == peer.Secure && r.Kind != peer.Direct {
		s, err := l.clientSpec(false)
		if err != nil {
			return err
		}
		if tlsConfig, err = s.ClientTLS(); err != nil {
			return err
		}
		addr = r.Secure
	}
	client := newClient(addr.String(), r.Plan.Protocol != mesh.HTTP1, tlsConfig)
	defer client.CloseIdleConnections()
	seen, err := ask(ctx, client, r.Plan.Protocol, "/echo", peer.Host)
	if err != nil {
		return err
	}
	if r.Kind == peer.Direct {
		return nil
	}
	if !strings.Contains(strings.ToLower(seen), "x-request-id: 5f1c9a2e") && r.Kind != peer.Nginx {
		return fmt.Errorf("the request's id was not kept: %s", seen)
	}
	if r.Plan.Shape != peer.Hop {
		if err := verifyPeer(seen); err != nil {
			return err
		}
	}
	body, err := ask(ctx, client, r.Plan.Protocol, "/api/v1/reviews", peer.Host)
	if err != nil {
		return err
	}
	if r.Plan.Protocol != mesh.GRPC && body != strings.Repeat("x", origin.SmallBody) {
		return fmt.Errorf("a body of %d bytes", len(body))
	}
	if _, err := ask(ctx, client, r.Plan.Protocol, "/api/v1/reviews", "unknown.example.com"); err == nil {
		return errors.New("a host that nobody knows is routed")
	}
	return nil
}

// verifyPeer looks for the client's identity in what the server received.
func verifyPeer(seen string) error {
	for line := range strings.Lines(strings.ToLower(seen)) {
		if name, value, _ := strings.Cut(line, ":"); name == "x-forwarded-client-cert" && strings.Contains(value, peer.ClientAccount) {
			return nil
		}
	}
	return fmt.Errorf("the client's identity is not in x-forwarded-client-cert: %s", seen)
}

func verifyStream(r *peer.Running) error {
	c, err := net.DialTimeout("tcp", r.Entry.String(), 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, c, 1<<20)
	return err
}

// newClient speaks to one address, whatever the URL says.
func newClient(addr string, h2 bool, t *tls.Config) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil || t == nil {
			return c, err
		}
		return tls.Client(c, t), nil
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Protocols: p, DisableCompression: true, DialContext: dial}}
}

// ask makes a request with the case's headers and returns a good answer's body.
func ask(ctx context.Context, c *http.Client, p mesh.Protocol, path, host string) (string, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if p == mesh.GRPC {
		method, body, path = http.MethodPost, bytes.NewReader(grpcMessage()), "/bench.Reviews"+path
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+peer.Host+path, body)
	if err != nil {
		return "", err
	}
	for _, h := range requestHeaders[1:] {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	if req.Host = host; p == mesh.GRPC {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s of %s: %s %.200s", method, path, host, resp.Status, text)
	}
	if status := resp.Trailer.Get("Grpc-Status") + resp.Header.Get("Grpc-Status"); p == mesh.GRPC && status != "0" {
		return "", fmt.Errorf("grpc-status %q: %s", status, resp.Trailer.Get("Grpc-Message")+resp.Header.Get("Grpc-Message"))
	}
	return string(text), nil
}

// clientSpec is a generator's TLS as the client's service account.
func (l *lab) clientSpec(resume bool) (load.Spec, error) {
	pair, err := l.site.Authority.Issue(peer.ClientAccount)
	return load.Spec{
		Cert: string(pair.Cert), Key: string(pair.Key), Roots: string(l.site.Authority.RootPEM), Resume: resume, ALPN: []string{"http/1.1"},
		ServerID: mesh.SPIFFE(peer.ServerAccount), Request: requestText("/answer"),
	}, err
}
