package upstream

import (
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

func TestChooseLink(t *testing.T) {
	c := static(func(c *config.Cluster) {
		c.TLSMatches = []config.TLSMatch{
			{Name: "istio", Match: map[string]string{"tlsMode": "istio"}, TLS: &config.UpstreamTLS{SNI: "x"}},
			{Name: "off", Match: map[string]string{"tlsMode": "off"}},
		}
		c.TLS = &config.UpstreamTLS{SNI: "y"}
	})
	ls, err := newLinks(c, nil, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	for want, meta := range map[string]map[string]string{
		"x": {"tlsMode": "istio", "other": "1"}, "": {"tlsMode": "off"}, "y": {},
	} {
		l := ls.choose(meta)
		if got := ""; l.cfg != nil && l.cfg.SNI != want || l.cfg == nil && want != got {
			t.Errorf("%v: %+v", meta, l.cfg)
		}
	}
	again, err := newLinks(static(func(n *config.Cluster) { n.TLS = &config.UpstreamTLS{SNI: "y"} }), &ls, &Options{})
	if err != nil || again.normal != ls.normal {
		t.Error("an equal TLS context was made anew")
	}
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(nil, addrA))
		dns := static(func(c *config.Cluster) { c.Type = config.ClusterStrictDNS })
		if err := n.m.Apply([]*config.Cluster{dns}, nil); err == nil {
			t.Error("a DNS cluster without a resolver was accepted")
		}
		bad := static(func(c *config.Cluster) {
			c.TLS = &config.UpstreamTLS{Common: config.CommonTLS{CRLs: []byte("x")}}
		}, addrB)
		if err := n.m.Apply([]*config.Cluster{bad}, nil); err == nil || h.Config().TLS != nil {
			t.Errorf("a bad TLS context came into force: %v", err)
		}
	})
}
