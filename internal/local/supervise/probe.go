package supervise

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/local/sandbox"
)

// checker asks one probe's question; nil is a pass.
type checker func(ctx context.Context) error

// timing are a probe's numbers with Kubernetes' defaults.
type timing struct {
	delay, period, timeout time.Duration
	successes, failures    int
}

func timingOf(p *corev1.Probe) timing {
	seconds := func(n, standard int32) time.Duration {
		if n <= 0 {
			n = standard
		}
		return time.Duration(n) * time.Second
	}
	count := func(n, standard int32) int {
		if n <= 0 {
			n = standard
		}
		return int(n)
	}
	return timing{
		delay:  time.Duration(p.InitialDelaySeconds) * time.Second,
		period: seconds(p.PeriodSeconds, 10), timeout: seconds(p.TimeoutSeconds, 1),
		successes: count(p.SuccessThreshold, 1), failures: count(p.FailureThreshold, 3),
	}
}

// firstPause is the pause after a program's first failed checks; it doubles up to
// the probe's period. A program that starts in 50 ms must not wait ten seconds
// for its second check.
const firstPause = 25 * time.Millisecond

// watch runs a probe until ctx ends or verdict returns false, and tells verdict
// each time that the probe's thresholds decide: passed or failed.
func watch(ctx context.Context, p *corev1.Probe, check checker, verdict func(passed bool, err error) bool) {
	t := timingOf(p)
	if !sleep(ctx, t.delay) {
		return
	}
	passed, failed, ever, pause := 0, 0, false, firstPause
	for {
		one, cancel := context.WithTimeout(ctx, t.timeout)
		err := check(one)
		cancel()
		if ctx.Err() != nil {
			return
		}
		wait := t.period
		if err == nil {
			passed, failed = passed+1, 0
			ever = true
			if passed >= t.successes && !verdict(true, nil) {
				return
			}
		} else {
			passed = 0
			if wait = t.period; !ever && pause < t.period {
				wait, pause = pause, pause*2 // an early check does not count as a failure
			} else if failed++; failed >= t.failures && !verdict(false, err) {
				return
			}
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// newChecker makes the question of a probe for a container's program.
func newChecker(p *corev1.Probe, c *corev1.Container, place Place, prog Program) (checker, error) {
	switch {
	case p.Exec != nil:
		return func(ctx context.Context) error { return checkExec(ctx, prog, p.Exec.Command) }, nil
	case p.TCPSocket != nil:
		addr, err := probeAddr(p.TCPSocket.Host, p.TCPSocket.Port, c, place)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return checkTCP(ctx, place, addr) }, nil
	case p.HTTPGet != nil:
		addr, err := probeAddr(p.HTTPGet.Host, p.HTTPGet.Port, c, place)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return checkHTTP(ctx, place, addr, p.HTTPGet) }, nil
	case p.GRPC != nil:
		addr, err := probeAddr("", intstr.FromInt32(p.GRPC.Port), c, place)
		if err != nil {
			return nil, err
		}
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		return func(ctx context.Context) error { return checkGRPC(ctx, place, addr, service) }, nil
	}
	return nil, errors.New("the probe asks nothing")
}

// probeAddr gives the address that a probe asks: the pod's, unless it names
// another.
func probeAddr(host string, port intstr.IntOrString, c *corev1.Container, place Place) (string, error) {
	number := port.IntVal
	if port.Type == intstr.String {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				number = p.ContainerPort
			}
		}
	}
	if number <= 0 {
		return "", fmt.Errorf("the container has no port named %q", port.StrVal)
	}
	if host == "" || host == "localhost" {
		host = place.Addr().String()
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return "", fmt.Errorf("the probe's host: %w", err)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(number))), nil
}

func checkTCP(ctx context.Context, place Place, addr string) error {
	c, err := place.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// checkHTTP passes for 200 to 399, as kubelet does.
func checkHTTP(ctx context.Context, place Place, addr string, a *corev1.HTTPGetAction) error {
	scheme := "http"
	if a.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	path := a.Path
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-probe/lateen")
	for _, h := range a.HTTPHeaders {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	// A connection of its own for each check, and any certificate: kubelet's way.
	t := &http.Transport{DialContext: place.DialContext, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// What the answer says does not matter, but a body that breaks off does.
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 10<<10)); err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	return nil
}

// checkGRPC asks gRPC's health service, without TLS, as kubelet does.
func checkGRPC(ctx context.Context, place Place, addr, service string) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithUserAgent("kube-probe/lateen"),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return place.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	if answer.Status != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("the service %q is %s", service, answer.Status)
	}
	return nil
}

func checkExec(ctx context.Context, prog Program, args []string) error {
	exit, out, err := prog.Exec(ctx, args)
	if err != nil {
		return err
	}
	if exit != (sandbox.Exit{}) {
		return fmt.Errorf("%s: %.200s", exit, out)
	}
	return nil
}
