// Package bookinfo is the sample application of the service-mesh tutorials: a
// product page that asks a details service and a reviews service, which in its
// versions v2 and v3 asks a ratings service. Addresses, JSON forms, error
// sentences and time-outs are those that the tutorials rely on.
package bookinfo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Env reads one environment variable.
type Env func(key string) string

// or returns the variable's value, or def where it is empty.
func (e Env) or(key, def string) string {
	if v := e(key); v != "" {
		return v
	}
	return def
}

// service gives the base URL of a back end from NAME_HOSTNAME, NAME_SERVICE_PORT
// and SERVICES_DOMAIN.
func (e Env) service(key, host string) string {
	name := e.or(key+"_HOSTNAME", host)
	if d := e("SERVICES_DOMAIN"); d != "" {
		name += "." + d
	}
	port := e(key + "_SERVICE_PORT")
	if port == "" {
		port = "9080"
	}
	return "http://" + net.JoinHostPort(name, port)
}

// forwarded are the request headers that a service passes on, so that traces
// hang together and routes by user or device act at every hop.
var forwarded = []string{
	"X-Request-Id", "End-User", "User-Agent", "Cookie", "Authorization", "Jwt",
	"Traceparent", "Tracestate",
	"X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags", "B3",
	"X-Ot-Span-Context", "X-Cloud-Trace-Context", "Grpc-Trace-Bin", "Sw8",
	"X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Sampling-Priority",
}

func forwardHeaders(from http.Header) http.Header {
	to := http.Header{}
	for _, name := range forwarded {
		if v, ok := from[name]; ok {
			to[name] = v
		}
	}
	return to
}

// get asks a back end and returns its status and body. The time-out covers the
// whole exchange.
func get(ctx context.Context, c *http.Client, url string, h http.Header, timeout time.Duration) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header = h
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	return resp.StatusCode, body, nil
}

// newClient keeps connections alive, as a service of many requests does.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second, DisableCompression: true}}
}
