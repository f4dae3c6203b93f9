package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// asker asks the application.
type asker struct {
	pod    netip.Addr
	dialer net.Dialer
}

// mostBody is what kubelet reads of an answer.
const mostBody = 10 << 10

// ask answers with the status and text of the application, or 500 and why there is
// none.
func (a *asker) ask(r *http.Request, p *prober) (code int, text []byte) {
	ctx, cancel := context.WithTimeout(r.Context(), p.timeout)
	defer cancel()
	var err error
	switch {
	case p.HTTPGet != nil:
		if code, text, err = a.http(ctx, r, p); err == nil {
			return code, text
		}
	case p.TCPSocket != nil:
		err = a.tcp(ctx, p)
	default:
		err = a.grpc(ctx, p)
	}
	if err != nil {
		return http.StatusInternalServerError, []byte(err.Error() + "\n")
	}
	return http.StatusOK, []byte("ok\n")
}

// target is the application's address. A probe's host other than the pod is not
// honoured by Istio either, where probes are rewritten: the injector leaves such
// probes alone.
func (a *asker) target(p *prober) string {
	return net.JoinHostPort(a.pod.String(), strconv.Itoa(int(p.port)))
}

// hop are headers of one connection, and those that the probe to the agent has of its
// own.
var hop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length"}

// errElsewhere ends a probe that would be redirected to another host: kubelet does not
// follow there, and takes the redirection for success.
var errElsewhere = errors.New("redirected to another host")

func (a *asker) http(ctx context.Context, r *http.Request, p *prober) (int, []byte, error) {
	g := p.HTTPGet
	path, query, _ := strings.Cut(g.Path, "?")
	u := &url.URL{Scheme: g.Scheme, Host: a.target(p), Path: "/" + strings.TrimPrefix(path, "/"), RawQuery: query}
	if unescaped, err := url.PathUnescape(u.Path); err == nil {
		u.RawPath, u.Path = u.Path, unescaped
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, nil, err
	}
	// What kubelet says of itself, "kube-probe/1.34", goes on to the application.
	req.Header = r.Header.Clone()
	for _, name := range hop {
		req.Header.Del(name)
	}
	if req.UserAgent() == "" {
		req.Header.Set("User-Agent", "kube-probe/lateen")
	}
	if g.Host != "" {
		req.Host = g.Host
	}
	for i, h := range g.Headers {
		switch {
		case strings.EqualFold(h.Name, "Host"):
			req.Host = h.Value
		case slices.ContainsFunc(g.Headers[:i], func(e header) bool { return strings.EqualFold(e.Name, h.Name) }):
			req.Header.Add(h.Name, h.Value)
		default:
			req.Header.Set(h.Name, h.Value)
		}
	}
	return a.roundTrip(req, p)
}

// roundTrip makes one request on a connection of its own, as kubelet does.
func (a *asker) roundTrip(req *http.Request, p *prober) (int, []byte, error) {
	t := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, Proxy: nil,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return a.dialer.DialContext(ctx, "tcp", a.target(p))
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as kubelet: a probe asks for life, not for identity
	}
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != via[0].URL.Hostname() {
			return errElsewhere
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirections")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if errors.Is(err, errElsewhere) && resp != nil {
		return resp.StatusCode, []byte("redirected to another host\n"), nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the application's answer: %w", err)
	}
	return resp.StatusCode, text, nil
}

func (a *asker) tcp(ctx context.Context, p *prober) error {
	c, err := a.dialer.DialContext(ctx, "tcp", a.target(p))
	if err != nil {
		return err
	}
	return c.Close()
}

// grpc asks the standard health service.
func (a *asker) grpc(ctx context.Context, p *prober) error {
	conn, err := grpc.NewClient("passthrough:///"+a.target(p),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithUserAgent("kube-probe/lateen"),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return a.dialer.DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the answer is there
	resp, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: p.GRPC.Service})
	if err != nil {
		return err
	}
	if s := resp.GetStatus(); s != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the application answers %s", s)
	}
	return nil
}
