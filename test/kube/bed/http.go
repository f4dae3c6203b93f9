package bed

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Client makes an HTTP client in the network of the first node: it reaches load
// balancers' addresses, Services and pods by address. Each request has a
// connection of its own.
func (b *Bed) Client() *http.Client {
	return &http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{DialContext: b.dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Get sends one request. Headers are "Name: value"; "Host" sets the authority.
func (b *Bed) Get(url string, headers ...string) (Response, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return Response{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		if value = strings.TrimSpace(value); strings.EqualFold(name, "host") {
			req.Host = value
		} else {
			req.Header.Add(name, value)
		}
	}
	resp, err := b.Client().Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}, err
}

// WaitStatus waits until a GET is answered with the status.
func (b *Bed) WaitStatus(t testing.TB, limit time.Duration, status int, url string, headers ...string) Response {
	t.Helper()
	var last Response
	Eventually(t, limit, fmt.Sprintf("%d from %s", status, url), func() (err error) {
		if last, err = b.Get(url, headers...); err != nil {
			return err
		}
		if last.Status != status {
			return fmt.Errorf("status %d: %.300s", last.Status, last.Body)
		}
		return nil
	})
	return last
}

// dial connects from the node's network namespace. A socket stays in the
// namespace of the thread that made it, so only that thread has to be there; it
// ends with its goroutine, for it is never unlocked.
func (b *Bed) dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := os.Open("/run/netns/" + b.Cluster.Namespace())
		if err != nil {
			done <- result{err: err}
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("entering the cluster's network: %w", err)}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
