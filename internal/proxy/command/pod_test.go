package command

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// podProcess is a proxy that runs as a pod's container does: an ordinary user without
// capabilities, in the pod's network namespace.
type podProcess struct {
	t     *testing.T
	plane *podPlane
	files *podFiles
	cmd   *exec.Cmd
	out   *output
	done  chan struct{}
	http  *http.Client
}

func startPod(t *testing.T, p *podPlane, f *podFiles, args []string, env ...string) *podProcess {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the binary")
	}
	built = true
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	c := &podProcess{t: t, plane: p, files: f, out: &output{}, done: make(chan struct{})}
	c.cmd = exec.Command(path, args...)
	c.cmd.Env = f.env(env...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1337, Gid: 1337}}
	if err := p.ns.Start(c.cmd); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.cmd.Wait(); close(c.done) }()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", c.out.String())
		}
	})
	c.http = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: p.ns.DialContext}}
	return c
}

func (c *podProcess) kill() {
	_ = c.cmd.Process.Kill() // ended already, mostly
	<-c.done
}

func (c *podProcess) do(method, url string, header ...string) (int, string, error) {
	req, err := http.NewRequest(method, "http://"+url, nil)
	if err != nil {
		return 0, "", err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (c *podProcess) get(url string) (int, string, error) { return c.do(http.MethodGet, url) }

func (c *podProcess) ready() {
	c.t.Helper()
	eventually(c.t, "ready", 20*time.Second, func() error { return want(200, "ready\n")(c.get("127.0.0.1:15021/healthz/ready")) })
}

// app serves the pod's application on port 8080.
func app(t *testing.T, p *podPlane, metrics http.HandlerFunc) (healthy *atomic.Bool) {
	t.Helper()
	l, err := p.ns.Listen(netip.MustParseAddrPort("127.0.0.1:8080"))
	if err != nil {
		t.Fatal(err)
	}
	healthy = &atomic.Bool{}
	healthy.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/healthy", func(w http.ResponseWriter, r *http.Request) {
		if !healthy.Load() {
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
		if from, _, _ := net.SplitHostPort(r.RemoteAddr); from != "127.0.0.6" {
			t.Errorf("the probe comes from %s", from)
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Second)
		io.WriteString(w, "slow")
	})
	mux.HandleFunc("/slower", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(3 * time.Second)
		io.WriteString(w, "slower")
	})
	mux.HandleFunc("/metrics", metrics)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "app") })
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }() // ends with Close
	t.Cleanup(func() { srv.Close() })
	return healthy
}

func textMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	io.WriteString(w, "# TYPE orders counter\norders 7\n# TYPE go_goroutines gauge\ngo_goroutines 9\n")
}

func serving(p *podPlane) {
	p.set("c", podCluster)
	p.set("l15006", fmt.Sprintf(podListener, 15006))
}

// TestPodServes: the proxy of a pod becomes ready with certificate and configuration,
// and not before; its pages answer.
func TestPodServes(t *testing.T) {
	p := newPodPlane(t)
	healthy := app(t, p, textMetrics)
	f := newPodFiles(t, p)
	certs := filepath.Join(f.root, "etc/istio/proxy")
	c := startPod(t, p, f, []string{"run", "--pod"}, "OUTPUT_CERTS="+certs, "CA_ADDR=localhost:15012")
	eventually(t, "pages", 10*time.Second, func() error {
		code, text, err := c.get("127.0.0.1:15021/healthz/ready")
		if err != nil || code != 503 || strings.Contains(text, "certificate") {
			return fmt.Errorf("%d %q %w", code, text, err)
		}
		return nil
	})
	serving(p)
	c.ready()
	for _, x := range []struct {
		method, url string
		code        int
		text        string
	}{
		{"GET", "127.0.0.1:15006/", 200, "app"},
		{"GET", "127.0.0.1:15020/healthz/ready", 200, "ready\n"},
		{"GET", "127.0.0.1:15020/app-health/cart/readyz", 200, ""},
		{"GET", "127.0.0.1:15020/app-health/cart/livez", 200, ""},
		{"GET", "127.0.0.1:15020/app-health/cart/startupz", 404, ""},
		{"GET", "127.0.0.1:15020/other", 404, ""},
		{"GET", "127.0.0.1:15021/stats/prometheus", 404, ""},
		{"GET", "127.0.0.1:15020/drain", 405, ""},
		{"GET", "127.0.0.1:15020/debug/pprof/", 404, ""},
	} {
		if err := want(x.code, x.text)(c.do(x.method, x.url)); err != nil {
			t.Errorf("%s %s: %v", x.method, x.url, err)
		}
	}
	healthy.Store(false)
	if err := want(503, "sick\n")(c.get("127.0.0.1:15020/app-health/cart/readyz")); err != nil {
		t.Error(err)
	}
	_, merged, err := c.get("127.0.0.1:15020/stats/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"orders 7\n", "\ngo_goroutines 9\n", "\nistio_agent_go_goroutines ", `istio_agent_cert_expiry_seconds{resource_name="default"}`, "\nenvoy_server_live 1\n"} {
		if !strings.Contains(merged, line) {
			t.Errorf("no %q in the merged metrics", line)
		}
	}
	if _, own, _ := c.get("127.0.0.1:15090/stats/prometheus"); strings.Contains(own, "orders") || !strings.Contains(own, "envoy_server_live 1") {
		t.Error("15090 serves other metrics than the proxy's")
	}
	if !slices.Contains(p.xds.Tokens(), "Bearer token-1") {
		t.Errorf("tokens of streams: %q", p.xds.Tokens())
	}
	meta := p.xds.Firsts()[0].GetNode()
	if got := meta.GetId(); got != "sidecar~127.0.0.1~cart-0.shop~shop.svc.cluster.local" {
		t.Errorf("node %s", got)
	}
	fields := meta.GetMetadata().GetFields()
	if l := fields["LABELS"].GetStructValue().GetFields(); l["app"].GetStringValue() != "cart" || fields["X"].GetStringValue() != "y" ||
		fields["ANNOTATIONS"].GetStructValue().GetFields()["big"] != nil || fields["CLUSTER_ID"].GetStringValue() != "Kubernetes" {
		t.Errorf("metadata %v", fields)
	}
	if pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "cert-chain.pem"), filepath.Join(certs, "key.pem")); err != nil || pair.Leaf.URIs[0].String() != "spiffe://cluster.local/ns/shop/sa/cart" {
		t.Errorf("the certificate in OUTPUT_CERTS: %v", err)
	}
	if err := runHook(t, p, "request", "GET", "listeners"); err != nil {
		t.Error(err)
	}
	if err := runHook(t, p, "request", "GET", "/none"); err == nil {
		t.Error("a page that is not there")
	}
	if !strings.Contains(c.out.String(), "statNameLength") {
		t.Error("nothing is said of a setting that is not acted on")
	}
}

// TestPodNames: questions are answered from the table that the control plane sends, and
// passed on before there is one.
func TestPodNames(t *testing.T) {
	p := newPodPlane(t)
	f := newPodFiles(t, p)
	serving(p)
	c := startPod(t, p, f, []string{"run", "--pod"})
	c.ready()
	ask := func(network, name string) (*mdns.Msg, error) {
		var conn net.Conn
		err := p.ns.Do(func() (err error) { conn, err = net.Dial(network, "127.0.0.1:15053"); return err })
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		m := new(mdns.Msg).SetQuestion(name, mdns.TypeA)
		r, _, err := (&mdns.Client{Net: network, Timeout: 5 * time.Second}).ExchangeWithConn(m, &mdns.Conn{Conn: conn})
		return r, err
	}
	p.xds.Raw(wire.NameTableResource, &anypb.Any{TypeUrl: wire.NameTableType, Value: wire.MarshalNameTable(wire.NameTable{
		"db.example.com": {Addrs: []netip.Addr{netip.MustParseAddr("240.240.0.7")}, Registry: wire.External},
	})})
	for _, network := range []string{"udp", "tcp"} {
		eventually(t, "an answer over "+network, 5*time.Second, func() error {
			r, err := ask(network, "db.example.com.")
			if err != nil {
				return err
			}
			if len(r.Answer) != 1 || !strings.Contains(r.Answer[0].String(), "240.240.0.7") {
				return fmt.Errorf("%v", r)
			}
			return nil
		})
	}
}

// TestPodLabels: changed labels reach the control plane, on a new stream, without new
// configuration.
func TestPodLabels(t *testing.T) {
	p := newPodPlane(t)
	f := newPodFiles(t, p)
	serving(p)
	c := startPod(t, p, f, []string{"run", "--pod"})
	c.ready()
	f.write("etc/istio/pod/labels", "app=\"cart\"\nversion=\"v2\"\n")
	f.write("var/run/secrets/tokens/istio-token", "token-2\n")
	eventually(t, "new labels", 15*time.Second, func() error {
		firsts := p.xds.Firsts()
		if len(firsts) == 0 {
			return errors.New("no stream")
		}
		l := firsts[0].GetNode().GetMetadata().GetFields()["LABELS"].GetStructValue().GetFields()
		if v := l["version"].GetStringValue(); v != "v2" {
			return fmt.Errorf("version %q", v)
		}
		if len(firsts[0].GetInitialResourceVersions()) == 0 {
			return errors.New("the proxy has forgotten its configuration")
		}
		return nil
	})
	if tokens := p.xds.Tokens(); tokens[len(tokens)-1] != "Bearer token-2" {
		t.Errorf("tokens %q: the new one is not used", tokens)
	}
}

// TestPodWithoutControlPlane: a proxy that starts again while the control plane is away
// serves with the kept configuration and certificate; when it is back, with another
// certificate of another root, the proxy hears of what has changed and what is gone.
func TestPodWithoutControlPlane(t *testing.T) {
	p := newPodPlane(t)
	app(t, p, textMetrics)
	f := newPodFiles(t, p)
	serving(p)
	p.set("l15007", fmt.Sprintf(podListener, 15007))
	c := startPod(t, p, f, []string{"run", "--pod"})
	c.ready()
	eventually(t, "kept", 10*time.Second, func() error {
		_, err := os.Stat(filepath.Join(f.root, "var/lib/istio/data/config.cache"))
		return err
	})
	p.end()
	if err := want(200, "app")(c.get("127.0.0.1:15006/")); err != nil {
		t.Errorf("without the control plane: %v", err)
	}
	c.kill()

	c = startPod(t, p, f, []string{"run", "--pod"}, "LATEEN_START_FROM_CACHE=500ms")
	c.ready()
	for _, port := range []string{"15006", "15007"} {
		if err := want(200, "app")(c.get("127.0.0.1:" + port + "/")); err != nil {
			t.Errorf("from the cache: %v", err)
		}
	}
	p.xds.Delete("type.googleapis.com/envoy.config.listener.v3.Listener", "l15007")
	p.set("l15008", fmt.Sprintf(podListener, 15008))
	p.newRoot()
	p.start()
	time.Sleep(500 * time.Millisecond) // it is not trusted yet
	if err := want(200, "app")(c.get("127.0.0.1:15007/")); err != nil {
		t.Errorf("an untrusted control plane: %v", err)
	}
	f.roots(p)
	eventually(t, "the new listener", 30*time.Second, func() error { return want(200, "app")(c.get("127.0.0.1:15008/")) })
	eventually(t, "the old listener is gone", 5*time.Second, func() error {
		if _, _, err := c.get("127.0.0.1:15007/"); err == nil {
			return errors.New("it serves")
		}
		return nil
	})
}

// TestPodBadCache: a damaged cache is said and not used; a proxy that must not use the
// cache waits.
func TestPodBadCache(t *testing.T) {
	p := newPodPlane(t)
	f := newPodFiles(t, p)
	serving(p)
	c := startPod(t, p, f, []string{"run", "--pod"})
	c.ready()
	path := filepath.Join(f.root, "var/lib/istio/data/config.cache")
	var text []byte
	eventually(t, "kept", 10*time.Second, func() (err error) { text, err = os.ReadFile(path); return err })
	c.kill()
	p.end()
	for _, x := range []struct {
		name, after, says string
		damage            bool
	}{{"damaged", "200ms", "is damaged", true}, {"never", "never", "", false}} {
		t.Run(x.name, func(t *testing.T) {
			if x.damage {
				bad := slices.Clone(text)
				bad[len(bad)-1] ^= 1
				if err := os.WriteFile(path, bad, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			c := startPod(t, p, f, []string{"run", "--pod"}, "LATEEN_START_FROM_CACHE="+x.after)
			eventually(t, "it says so", 10*time.Second, func() error {
				code, text, err := c.get("127.0.0.1:15021/healthz/ready")
				if err != nil || code != 503 || !strings.Contains(text, "listeners") {
					return fmt.Errorf("%d %q %w", code, text, err)
				}
				if !strings.Contains(c.out.String(), x.says) {
					return errors.New("it does not")
				}
				return nil
			})
			time.Sleep(500 * time.Millisecond)
			if err := want(503, "")(c.get("127.0.0.1:15021/healthz/ready")); err != nil {
				t.Error(err)
			}
			if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-c.done
		})
	}
}

// TestPodEnds: an announced end takes readiness away and goes on serving; the request
// to end then waits for what is under way, and no longer. Without an announcement the
// proxy stays for its time.
func TestPodEnds(t *testing.T) {
	for _, x := range []struct {
		name        string
		announce    bool
		quit        bool   // over HTTP
		termination string // terminationDrainDuration
		least, most time.Duration
	}{
		{"announced", true, false, "20s", 500 * time.Millisecond, 10 * time.Second},
		{"not announced", false, false, "2s", 1900 * time.Millisecond, 10 * time.Second},
		{"over HTTP", true, true, "20s", 500 * time.Millisecond, 10 * time.Second},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := newPodPlane(t)
			app(t, p, textMetrics)
			f := newPodFiles(t, p)
			serving(p)
			c := startPod(t, p, f, []string{"run", "--pod"}, `PROXY_CONFIG={"discoveryAddress":"127.0.0.1:15012","terminationDrainDuration":"`+x.termination+`"}`)
			c.ready()
			if x.announce {
				if err := runHook(t, p, "probe", "--post", "http://127.0.0.1:15020/drain"); err != nil {
					t.Fatal(err)
				}
				eventually(t, "unready", 5*time.Second, func() error { return want(503, "")(c.get("127.0.0.1:15021/healthz/ready")) })
				if err := want(200, "app")(c.get("127.0.0.1:15006/")); err != nil {
					t.Errorf("after the announcement: %v", err)
				}
			}
			conn, err := p.ns.DialContext(t.Context(), "tcp", "127.0.0.1:15006")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
			time.Sleep(100 * time.Millisecond)
			start := time.Now()
			if x.quit {
				if err := want(200, "OK\n")(c.do("POST", "127.0.0.1:15020/quitquitquit")); err != nil {
					t.Fatal(err)
				}
			} else if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if !x.announce {
				eventually(t, "unready", 5*time.Second, func() error { return want(503, "")(c.get("127.0.0.1:15021/healthz/ready")) })
				if err := want(200, "app")(c.get("127.0.0.1:15006/")); err != nil {
					t.Errorf("after the request to end: %v", err)
				}
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != 200 || !resp.Close {
				t.Errorf("what was under way: %v, %v", resp, err)
			}
			<-c.done
			if took := time.Since(start); took < x.least || took > x.most || c.cmd.ProcessState.ExitCode() != 0 {
				t.Errorf("ended after %v with %v", took, c.cmd.ProcessState)
			}
		})
	}
}

// TestPodGateway: a gateway is a pod with another role; its listeners, which are
// outbound ones, drain.
func TestPodGateway(t *testing.T) {
	p := newPodPlane(t)
	app(t, p, textMetrics)
	f := newPodFiles(t, p)
	p.set("c", podCluster)
	p.set("l15006", strings.Replace(fmt.Sprintf(podListener, 15006), "INBOUND", "OUTBOUND", 1))
	c := startPod(t, p, f, []string{"run", "--pod"}, "LATEEN_ROLE=router", `PROXY_CONFIG={"discoveryAddress":"127.0.0.1:15012","terminationDrainDuration":"20s"}`, "EXIT_ON_ZERO_ACTIVE_CONNECTIONS=true", "MINIMUM_DRAIN_DURATION=500ms")
	c.ready()
	if id := p.xds.Firsts()[0].GetNode().GetId(); !strings.HasPrefix(id, "router~127.0.0.1~") {
		t.Errorf("node %s", id)
	}
	conn, err := p.ns.DialContext(t.Context(), "tcp", "127.0.0.1:15006")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /slower HTTP/1.1\r\nHost: a\r\n\r\n")
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if err := want(200, "app")(c.get("127.0.0.1:15006/")); err != nil {
		t.Errorf("within the minimum: %v", err)
	}
	eventually(t, "no more connections", 5*time.Second, func() error {
		probe, err := p.ns.DialContext(t.Context(), "tcp", "127.0.0.1:15006")
		if err == nil {
			probe.Close()
			return errors.New("the gateway accepts")
		}
		return nil
	})
	if refused := time.Since(start); refused > 2800*time.Millisecond {
		t.Errorf("the gateway accepts for %v, to its end", refused)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("what was under way: %v, %v", resp, err)
	}
	<-c.done
	if took := time.Since(start); took < 800*time.Millisecond || took > 10*time.Second {
		t.Errorf("ended after %v", took)
	}
}

// runHook runs a command of the binary in the pod's namespace.
func runHook(t *testing.T, p *podPlane, args ...string) error {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := p.ns.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, out.String())
	}
	return nil
}

// TestPodWait: the hook that holds the application back returns when the proxy is
// ready, and fails when that takes too long.
func TestPodWait(t *testing.T) {
	p := newPodPlane(t)
	f := newPodFiles(t, p)
	c := startPod(t, p, f, []string{"run", "--pod"})
	if err := runHook(t, p, "wait", "--timeoutSeconds=1"); err == nil {
		t.Error("the proxy is not ready, and wait says that it is")
	}
	waited := make(chan error, 1)
	go func() { waited <- runHook(t, p, "probe", "--wait", "http://127.0.0.1:15021/healthz/ready") }()
	time.Sleep(200 * time.Millisecond)
	serving(p)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case err := <-waited:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("it waits on")
	}
	if err := want(200, "ready\n")(c.get("127.0.0.1:15021/healthz/ready")); err != nil {
		t.Error(err)
	}
}
