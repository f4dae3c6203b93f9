// Package forward carries connections to ports of pods through the API server, as
// `kubectl port-forward` does, without a listener of its own: what comes out is a
// net.Conn or an http.RoundTripper. In the pod such a connection comes from
// loopback; who may make one is the API server's to say (pods/portforward).
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	streaming "k8s.io/streaming/pkg/httpstream"

	"github.com/lateen-mesh/lateen/internal/kube"
)

// Forwarder dials ports of pods. Its methods are safe for concurrent use.
type Forwarder struct {
	config *rest.Config
	pods   func(namespace, pod string) *url.URL // of the portforward subresource
}

// New gives the forwarder of a cluster. Nothing is dialled yet.
func New(c *kube.Client) *Forwarder {
	return &Forwarder{config: c.Config(), pods: func(namespace, pod string) *url.URL {
		return c.Typed().CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	}}
}

// Dial connects to a port in the network of a pod. An error of the pod's side
// (nobody listens there) comes with the first Read, since the API server tells it
// only then.
func (f *Forwarder) Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() { // client-go's dialers take no context
		conn, err := f.dial(namespace, pod, port)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("forwarding to port %d of the pod %s in the namespace %s: %w", port, pod, namespace, r.err)
		}
		return r.conn, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.conn != nil {
				r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func (f *Forwarder) dial(namespace, pod string, port int) (net.Conn, error) {
	dialer, err := f.dialer(f.pods(namespace, pod))
	if err != nil {
		return nil, err
	}
	session, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		return nil, errors.Join(fmt.Errorf("the API server speaks %q, not %q", protocol, portforward.PortForwardProtocolV1Name), session.Close())
	}
	c, err := open(session, addr{namespace, pod, port})
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return c, nil
}

// dialer speaks SPDY over a WebSocket, which proxies on the way let pass, and plain
// SPDY where the API server (before v1.30) does not know the first.
func (f *Forwarder) dialer(u *url.URL) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(f.config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, f.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialer(tunnel, plain, func(err error) bool {
		// client-go's WebSockets fail with the errors of the one package, its SPDY with
		// those of the other.
		return httpstream.IsUpgradeFailure(err) || streaming.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// open makes the two streams of a forwarded connection: errors and data.
func open(session httpstream.Connection, to addr) (*conn, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(to.port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := session.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("opening the stream of errors: %w", err)
	}
	if err := failures.Close(); err != nil { // only the other side writes to it
		return nil, fmt.Errorf("opening the stream of errors: %w", err)
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := session.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("opening the stream of data: %w", err)
	}
	c := &conn{session: session, data: data, to: to, told: make(chan struct{})}
	go c.listen(failures)
	return c, nil
}

// conn is one forwarded connection. It has no deadlines: whoever needs one closes
// it.
type conn struct {
	// immutable
	session httpstream.Connection
	data    httpstream.Stream
	to      addr
	told    chan struct{} // closed when failure is final

	failure error // of the other side; written before told closes
	once    sync.Once
	closed  error // guarded by once
}

// listen reads what the other side says of failure. It ends with the session.
func (c *conn) listen(failures io.Reader) {
	text, err := io.ReadAll(failures)
	if err == nil && len(text) > 0 {
		c.failure = errors.New(plainFailure(string(text)))
	}
	close(c.told)
	if c.failure != nil {
		_ = c.data.Reset() // wakes the reader, who tells the failure
	}
}

// plainFailure leaves out of kubelet's message what the user knows.
func plainFailure(text string) string {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "connection refused") {
		return "connection refused: nobody listens there"
	}
	return text
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.data.Read(b)
	if err == nil || n > 0 {
		return n, nil
	}
	// The failure and the end of the data come as two streams: give the first a moment.
	select {
	case <-c.told:
	case <-time.After(time.Second):
		return 0, err
	}
	if c.failure != nil {
		return 0, &net.OpError{Op: "read", Net: c.to.Network(), Addr: c.to, Err: c.failure}
	}
	return 0, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) { return c.data.Write(b) }

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { c.closed = errors.Join(c.data.Reset(), c.session.Close()) })
	return c.closed
}

// CloseWrite ends what this side writes.
func (c *conn) CloseWrite() error { return c.data.Close() }

// LocalAddr implements net.Conn: there is no address on this side.
func (c *conn) LocalAddr() net.Addr { return addr{} }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.to }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// addr names a port of a pod.
type addr struct {
	namespace, pod string
	port           int
}

// Network implements net.Addr.
func (addr) Network() string { return "port-forward" }

// String implements net.Addr.
func (a addr) String() string { return a.namespace + "/" + a.pod + ":" + strconv.Itoa(a.port) }
