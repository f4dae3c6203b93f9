package command

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/wire"
)

func envoyPath(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("LATEEN_TEST_ENVOY"); path != "" {
		return path
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path
	}
	if path, err := filepath.Abs("../../../.cache/tools/envoy"); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no Envoy: set LATEEN_TEST_ENVOY to one, put it in PATH, or let `make test` install it; the test of a pod with Envoy is left out")
	return ""
}

// TestPodEnvoy: with an Envoy the pod has the same pages, names, kept configuration and
// end.
func TestPodEnvoy(t *testing.T) {
	envoy := envoyPath(t)
	p := newPodPlane(t)
	app(t, p, textMetrics)
	f := newPodFiles(t, p)
	serving(p)
	p.xds.Raw(wire.NameTableResource, &anypb.Any{TypeUrl: wire.NameTableType, Value: wire.MarshalNameTable(wire.NameTable{
		"db.example.com": {Addrs: []netip.Addr{netip.MustParseAddr("240.240.0.7")}},
	})})
	args := []string{"agent", "--pod", "--envoy", envoy}
	c := startPod(t, p, f, args)
	c.ready()
	podEnvoyServes(t, c)
	_, merged, err := c.get("127.0.0.1:15020/stats/prometheus")
	if err != nil || !strings.Contains(merged, "orders 7\n") || !strings.Contains(merged, "istio_agent_cert_expiry_seconds") || !strings.Contains(merged, "envoy_server_live") {
		t.Errorf("merged metrics: %v\n%s", err, merged)
	}
	f.write("etc/istio/pod/labels", "app=\"cart\"\nversion=\"v2\"\n")
	eventually(t, "new labels", 20*time.Second, func() error {
		for _, r := range p.xds.Firsts() {
			if n := r.GetNode(); n != nil {
				if v := n.GetMetadata().GetFields()["LABELS"].GetStructValue().GetFields()["version"].GetStringValue(); v != "v2" {
					return fmt.Errorf("version %q", v)
				}
				return nil
			}
		}
		return errors.New("no stream")
	})
	eventually(t, "kept", 10*time.Second, func() error {
		_, err := os.Stat(filepath.Join(f.root, "var/lib/istio/data/config.cache"))
		return err
	})
	p.end()
	c.kill()
	eventually(t, "the Envoy has gone with its agent", 5*time.Second, func() error {
		if conn, err := p.ns.DialContext(t.Context(), "tcp", "127.0.0.1:15006"); err == nil {
			conn.Close()
			return errors.New("it accepts")
		}
		return nil
	})

	c = startPod(t, p, f, args, "LATEEN_START_FROM_CACHE=500ms", `PROXY_CONFIG={"discoveryAddress":"127.0.0.1:15012","terminationDrainDuration":"4s"}`)
	c.ready()
	podEnvoyServes(t, c)
	p.set("l15007", fmt.Sprintf(podListener, 15007))
	p.start()
	eventually(t, "new configuration", 30*time.Second, func() error { return want(200, "app")(c.get("127.0.0.1:15007/")) })
	podEnvoyServes(t, c)

	if err := runHook(t, p, "probe", "--post", "http://127.0.0.1:15020/drain"); err != nil {
		t.Fatal(err)
	}
	if err := want(503, "")(c.get("127.0.0.1:15021/healthz/ready")); err != nil {
		t.Error(err)
	}
	time.Sleep(5 * time.Second) // longer than the drain time
	if err := want(200, "app")(c.get("127.0.0.1:15006/")); err != nil {
		t.Errorf("after the announcement: %v", err)
	}
	start := time.Now()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-c.done
	if took := time.Since(start); took > 3900*time.Millisecond {
		t.Errorf("an Envoy without connections ends after %v", took)
	}
}

func podEnvoyServes(t *testing.T, c *podProcess) {
	t.Helper()
	if err := want(200, "app")(c.get("127.0.0.1:15006/")); err != nil {
		t.Error(err)
	}
	if err := want(200, "")(c.get("127.0.0.1:15020/app-health/cart/readyz")); err != nil {
		t.Error(err)
	}
	eventually(t, "a name", 5*time.Second, func() error {
		var conn net.Conn
		err := c.plane.ns.Do(func() (err error) { conn, err = net.Dial("udp", "127.0.0.1:15053"); return err })
		if err != nil {
			return err
		}
		defer conn.Close()
		r, _, err := (&mdns.Client{Timeout: 5 * time.Second}).ExchangeWithConn(new(mdns.Msg).SetQuestion("db.example.com.", mdns.TypeA), &mdns.Conn{Conn: conn})
		if err != nil {
			return err
		}
		if len(r.Answer) != 1 || !strings.Contains(r.Answer[0].String(), "240.240.0.7") {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
}
