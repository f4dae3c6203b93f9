package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport gives an http.RoundTripper to a port of a pod, whatever host the
// request names. It keeps its connection for further requests for a short while;
// CloseIdleConnections ends it at once.
func (f *Forwarder) Transport(namespace, pod string, port int) *http.Transport {
	return &http.Transport{
		// Each connection costs the API server and the kubelet one of their own.
		MaxIdleConns: 1, MaxConnsPerHost: 4, IdleConnTimeout: 10 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.Dial(ctx, namespace, pod, port) },
	}
}

// Serve accepts connections at a local listener and carries each to a port of a
// pod, until ctx ends. It closes the listener. refused is told of connections that
// could not be carried.
func (f *Forwarder) Serve(ctx context.Context, l net.Listener, namespace, pod string, port int, refused func(error)) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		local, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		wg.Go(func() {
			remote, err := f.Dial(ctx, namespace, pod, port)
			if err != nil {
				local.Close()
				refused(err)
				return
			}
			join(ctx, local, remote)
		})
	}
}

// join copies both ways until both sides have ended, or ctx has.
func join(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer stop()
	var wg sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // either side may end whenever it likes
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // a side that is gone needs no end
		}
	}
	wg.Go(func() { copyTo(a, b) })
	copyTo(b, a)
	wg.Wait()
	a.Close()
	b.Close()
}
