package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/bench/stats"
)

// ClientTLS makes the client's side of a Spec: TLS 1.3 with one key share,
// X25519, so that all servers do equal work.
func (s Spec) ClientTLS() (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(s.Cert), []byte(s.Key))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(s.Roots)) {
		return nil, errors.New("no roots")
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, Certificates: []tls.Certificate{pair}, NextProtos: s.ALPN,
		ServerName: "server.bench",
		// Mesh certificates carry a SPIFFE id and no name of a host: the chain and the
		// id are checked below.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if _, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool}); err != nil {
				return err
			}
			if ids := cs.PeerCertificates[0].URIs; len(ids) != 1 || ids[0].String() != s.ServerID {
				return fmt.Errorf("the server is %v, not %s", ids, s.ServerID)
			}
			return nil
		},
	}
	if s.Resume {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}
	return c, nil
}

// handshakes makes connections one after the other, each with one request that
// the proxy answers by itself: the answer shows that the handshake was taken, and
// brings the ticket for the next connection.
func handshakes(ctx context.Context, s Spec, begin func() error) (Result, error) {
	c, err := s.ClientTLS()
	if err != nil {
		return Result{}, err
	}
	var r Result
	var hist stats.Histogram
	if _, err := Once(s.Addr.String(), c, s.Request); err != nil { // the first ticket
		return r, err
	}
	if err := begin(); err != nil {
		return r, err
	}
	start := time.Now()
	for time.Since(start) < s.Length && ctx.Err() == nil {
		began := time.Now()
		resumed, err := Once(s.Addr.String(), c, s.Request)
		if err != nil {
			return r, err
		}
		if resumed {
			r.Resumed++
		} else if s.Resume {
			return r, errors.New("the server does not resume sessions")
		}
		hist.Add(time.Since(began))
		r.Requests++
	}
	r.Elapsed = time.Since(start)
	r.P50, r.P99 = hist.Quantile(0.5), hist.Quantile(0.99)
	return r, nil
}

// Once makes one connection with one request.
func Once(addr string, c *tls.Config, request string) (resumed bool, err error) {
	conn, err := Hold(addr, c, request)
	if err != nil {
		return false, err
	}
	if t, ok := conn.(*tls.Conn); ok {
		resumed = t.ConnectionState().DidResume
	}
	return resumed, conn.Close()
}

// Hold opens a connection, with TLS if c is not nil, makes one request on it and
// leaves it open.
func Hold(addr string, c *tls.Config, request string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if c != nil {
		conn = tls.Client(conn, c)
	}
	if err := ask(conn, request); err != nil {
		_ = conn.Close() // the first error tells
		return nil, err
	}
	return conn, nil
}

func ask(conn net.Conn, request string) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 4<<10), nil)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("reading the answer's body: %w", err)
	}
	return conn.SetDeadline(time.Time{})
}
