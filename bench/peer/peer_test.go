package peer

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/bench/mesh"
)

// TestFiles: what is asked for is in the files of HAProxy and nginx, and nothing
// else.
func TestFiles(t *testing.T) {
	a, err := mesh.NewAuthority("bench root")
	if err != nil {
		t.Fatal(err)
	}
	site := &Site{Authority: a}
	addr := netip.MustParseAddrPort("127.0.0.1:81")
	for _, c := range []struct {
		name           string
		side           side
		haproxy, nginx []string // must be there
		not            []string // must not be in either
	}{
		{"hop", side{plan: Plan{Protocol: mesh.HTTP1, Concurrency: 1}, side: mesh.Inbound, listen: addr, upstream: addr},
			[]string{"nbthread 1", "bind 127.0.0.1:81\n", "deny unless method_allowed path_allowed caller_allowed"}, []string{"master_process off", "limit_except GET POST"}, []string{"ssl crt", "log stdout"}},
		{"server", side{plan: Plan{Protocol: mesh.HTTP1, Concurrency: 2, Log: true}, side: mesh.Inbound, secure: addr, upstream: addr},
			[]string{"verify required", "nbthread 2", "log stdout"}, []string{"ssl_verify_client on", "access_log /"}, []string{"verifyhost", "proxy_ssl_verify", "master_process off"}},
		{"client", side{plan: Plan{Protocol: mesh.GRPC, Concurrency: 1}, side: mesh.Outbound, listen: addr, upstream: addr},
			[]string{"verifyhost server.bench", "alpn h2", "proto h2"}, []string{"grpc_ssl_verify on", "grpcs://"}, []string{"deny unless", "limit_except"}},
		{"tcp", side{plan: Plan{Protocol: mesh.TCP, Concurrency: 1}, side: mesh.Inbound, listen: addr, upstream: addr},
			[]string{"mode tcp"}, []string{"stream {"}, []string{"http {", "acl "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.side.dir = t.TempDir()
			v, err := site.view(c.side)
			if err != nil {
				t.Fatal(err)
			}
			var h, n bytes.Buffer
			if err := haproxyFile.Execute(&h, v); err != nil {
				t.Fatal(err)
			}
			if err := nginxFile.Execute(&n, v); err != nil {
				t.Fatal(err)
			}
			for text, wanted := range map[string][]string{h.String(): c.haproxy, n.String(): c.nginx} {
				for _, w := range wanted {
					if !strings.Contains(text, w) {
						t.Errorf("%q is missing:\n%s", w, text)
					}
				}
				for _, w := range c.not {
					if strings.Contains(text, w) {
						t.Errorf("%q is there:\n%s", w, text)
					}
				}
			}
			if i, err := os.Stat(v.Key()); err != nil || i.Mode().Perm() != 0o600 {
				t.Errorf("the key: %v, %v", i, err)
			}
		})
	}
}

func TestFind(t *testing.T) {
	if _, err := Find("sh"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"no-such-program", "/no/such/program"} {
		if _, err := Find(name); err == nil {
			t.Errorf("%s is found", name)
		}
	}
}
