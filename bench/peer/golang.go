package peer

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/proc"
)

// goConfig tells the process of the Go proxy what to do.
type goConfig struct {
	Listen, Secure, Upstream string
	TLS, H2, TCP, Inbound    bool
	Cert, Key, Roots         string
	LogPath                  string
}

func startGo(s *Site, one side) (*proc.Process, string, error) {
	v, err := s.view(one)
	if err != nil {
		return nil, "", err
	}
	c := goConfig{Listen: v.Listen, Secure: v.Secure, Upstream: v.Upstream, TLS: v.TLS, H2: v.H2, TCP: v.TCP, Inbound: v.Inbound, Cert: v.cert, Key: v.key, Roots: v.roots}
	if v.Log {
		c.LogPath = v.LogPath
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, "", err
	}
	p, err := proc.Start(proc.Spec{
		Name: Go, Cores: one.plan.Cores, Args: []string{s.Self, "serve-go-proxy", string(text)},
		Env: []string{"GOMAXPROCS=" + strconv.Itoa(one.plan.Concurrency)}, Log: one.dir + "/log",
	})
	if err != nil {
		return nil, "", err
	}
	if err := one.ready(p); err != nil {
		p.Stop()
		return nil, "", err
	}
	return p, "", nil
}

// ServeGo is the Go proxy's process: what a Go programmer writes with
// httputil.ReverseProxy in an afternoon, or with io.Copy for TCP.
func ServeGo(text string) error {
	var c goConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	var client, server *tls.Config
	if c.TLS || c.Secure != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return err
		}
		roots, err := os.ReadFile(c.Roots)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(roots)
		client = &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: mesh.ServerName, Certificates: []tls.Certificate{pair},
			ClientSessionCache: tls.NewLRUClientSessionCache(16), VerifyConnection: isServer,
		}
		server = &tls.Config{MinVersion: tls.VersionTLS13, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, Certificates: []tls.Certificate{pair}}
		if !c.TLS {
			client = nil
		}
	}
	var listeners []net.Listener
	for _, x := range []struct {
		addr string
		tls  *tls.Config
	}{{c.Listen, nil}, {c.Secure, server}} {
		if x.addr == "" {
			continue
		}
		l, err := net.Listen("tcp", x.addr)
		if err != nil {
			return err
		}
		if x.tls != nil {
			if !c.TCP {
				x.tls.NextProtos = []string{"h2", "http/1.1"}
			}
			l = tls.NewListener(l, x.tls)
		}
		listeners = append(listeners, l)
	}
	serve := func(l net.Listener) error { return relay(l, c.Upstream, client) }
	if !c.TCP {
		h, err := c.handler(client)
		if err != nil {
			return err
		}
		both := new(http.Protocols)
		both.SetHTTP1(true)
		both.SetHTTP2(true)
		both.SetUnencryptedHTTP2(true)
		serve = (&http.Server{Handler: h, Protocols: both}).Serve
	}
	done := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { done <- serve(l) }()
	}
	return <-done
}

func isServer(s tls.ConnectionState) error {
	if ids := s.PeerCertificates[0].URIs; len(ids) != 1 || ids[0].String() != mesh.SPIFFE(ServerAccount) {
		return fmt.Errorf("the server is %v", ids)
	}
	return nil
}

func (c goConfig) handler(client *tls.Config) (http.Handler, error) {
	upstream := &url.URL{Scheme: "http", Host: c.Upstream}
	protocols := new(http.Protocols)
	t := &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Hour, DisableCompression: true, TLSClientConfig: client, Protocols: protocols}
	switch {
	case c.TLS:
		upstream.Scheme = "https"
		protocols.SetHTTP2(c.H2)
		protocols.SetHTTP1(!c.H2)
	default:
		protocols.SetUnencryptedHTTP2(c.H2)
		protocols.SetHTTP1(!c.H2)
	}
	buffers := &sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
	proxy := &httputil.ReverseProxy{Transport: t, BufferPool: bufferPool{buffers}, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("X-Forwarded-Proto", "http")
		if r.In.TLS != nil {
			r.Out.Header.Set("X-Forwarded-Client-Cert", r.In.TLS.PeerCertificates[0].URIs[0].String())
		}
	}}
	var log io.Writer
	if c.LogPath != "" {
		f, err := os.Create(c.LogPath)
		if err != nil {
			return nil, err
		}
		log = f
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/answer" {
			_, _ = io.WriteString(w, "answered by the proxy") // a client that has gone needs none
			return
		}
		if c.Inbound && r.Method != http.MethodGet && r.Method != http.MethodPost {
			http.Error(w, "RBAC: access denied", http.StatusForbidden)
			return
		}
		if r.Host != Host && !strings.HasPrefix(r.Host, "reviews") {
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		started := time.Now()
		proxy.ServeHTTP(w, r)
		if log != nil {
			fmt.Fprintf(log, "[%s] %q %s %s %s\n", started.Format(time.RFC3339Nano), r.Method+" "+r.URL.Path, r.UserAgent(), r.RemoteAddr, time.Since(started))
		}
	}), nil
}

type bufferPool struct{ p *sync.Pool }

func (b bufferPool) Get() []byte  { return *b.p.Get().(*[]byte) }
func (b bufferPool) Put(v []byte) { b.p.Put(&v) }

// relay copies bytes both ways.
func relay(l net.Listener, upstream string, client *tls.Config) error {
	for {
		down, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer down.Close()
			up, err := net.Dial("tcp", upstream)
			if err != nil {
				return // the client sees it
			}
			defer up.Close()
			if client != nil {
				up = tls.Client(up, client)
			}
			done := make(chan error, 2)
			for _, pair := range [][2]net.Conn{{down, up}, {up, down}} {
				go func() { _, err := io.Copy(pair[0], pair[1]); done <- err }()
			}
			<-done
		}()
	}
}

// readyPage asks an admin server whether its proxy is ready.
func readyPage(base string) error {
	resp, err := (&http.Client{Timeout: 2 * time.Second}).Get(base + "/ready")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	return nil
}
