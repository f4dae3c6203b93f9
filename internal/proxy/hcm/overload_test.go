package hcm

import (
	"io"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// strained is a process with too much to do.
type strained struct{ last, shed, shedHigh bool }

func (s strained) LastRequest() bool { return s.last }
func (s strained) Why() string       { return "memory at 97 % of the limit" }
func (s strained) Shed(high bool, _ uint64) bool {
	if high {
		return s.shedHigh
	}
	return s.shed
}

func TestOverload(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      strained
		path   string
		status int
		close  bool
	}{
		{"nothing", strained{}, "/", 200, false},
		{"ease", strained{last: true}, "/", 200, true},
		{"shed", strained{last: true, shed: true}, "/", 503, true},
		{"high priority is served", strained{last: true, shed: true}, "/high", 200, true},
		{"high priority last", strained{shed: true, shedHigh: true}, "/high", 503, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			served := false
			cfg := withEndpoint(config.HTTP{Inline: &config.RouteTable{Hosts: []*config.VirtualHost{{Domains: []string{"*"}, Routes: []*config.Route{
				{Name: "important", Match: config.RouteMatch{PathKind: config.PathPrefix, Path: "/high"}, Forward: &config.Forward{Priority: 1}},
				{Name: "all", Match: config.RouteMatch{PathKind: config.PathPrefix, Path: "/"}, Forward: &config.Forward{}},
			}}}}}, func(*stream.Stream) (*stream.Response, error) {
				served = true
				return &stream.Response{Status: 200}, nil
			})
			resp := exchange(t, cfg, Options{Dir: stream.Outbound, Overload: c.o}, conn(nil), "GET "+c.path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || resp.Close != c.close || served != (c.status == 200) {
				t.Errorf("status %d, close %t, served %t", resp.StatusCode, resp.Close, served)
			}
			if c.status != 503 {
				return
			}
			if got := resp.Header.Get("x-envoy-overloaded"); got != "true" {
				t.Errorf("x-envoy-overloaded: %q", got)
			}
			if got := resp.Header.Get(ReasonHeader); got != "overload: memory at 97 % of the limit" || string(body) != "envoy overloaded" {
				t.Errorf("reason %q, body %q", got, body)
			}
		})
	}
}
