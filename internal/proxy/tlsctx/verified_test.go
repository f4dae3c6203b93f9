package tlsctx

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// TestVerifiedChains is what a chain that was accepted once may still run into.
func TestVerifiedChains(t *testing.T) {
	ca := newAuthority(t)
	now := time.Now()
	cfg := mesh()
	c, err := newCommon(&cfg, &store{}, func() time.Time { return now })
	check(t, err)
	v := &verifier{common: c, epoch: newEpoch(material{roots: ca.roots()}), server: true}
	peer := func(s *Secret) tls.ConnectionState {
		return tls.ConnectionState{PeerCertificates: []*x509.Certificate{s.Certificate.Leaf}}
	}
	known := peer(ca.leaf(t, clientID, time.Minute))
	check(t, v.verify(known))
	if len(v.known.by) != 1 {
		t.Fatalf("%d chains are remembered", len(v.known.by))
	}
	check(t, v.verify(known))
	if err := v.verify(peer(newAuthority(t).leaf(t, clientID, time.Minute))); err == nil {
		t.Error("a chain of another authority is accepted")
	}
	now = now.Add(2 * time.Minute)
	if err := v.verify(known); err == nil {
		t.Error("an expired certificate is accepted because it was once")
	}
	now = now.Add(-2 * time.Hour)
	if err := v.verify(known); err == nil {
		t.Error("a certificate that is not valid yet is accepted because it was once")
	}
	// Another epoch has other roots, and nothing in mind.
	now = time.Now()
	next := &verifier{common: c, epoch: newEpoch(material{roots: newAuthority(t).roots()}), server: true}
	if err := next.verify(known); err == nil {
		t.Error("what one epoch accepted, another accepts unseen")
	}
	// The rules beside the chain are looked at each time.
	cfg.SANs = []config.StringMatch{exact(serverID)}
	if err := v.verify(known); err == nil {
		t.Error("a remembered chain passes without its name")
	}
}

func TestVerifiedIsBounded(t *testing.T) {
	var v verified
	for i := range 2 * maxVerified {
		v.add([32]byte{byte(i), byte(i >> 8)}, nil)
	}
	if len(v.by) != maxVerified {
		t.Errorf("%d chains are remembered", len(v.by))
	}
}

func BenchmarkVerify(b *testing.B) {
	p := meshPair(b, newAuthority(b))
	for _, tc := range []struct {
		name  string
		known bool
	}{{"new", false}, {"known", true}} {
		b.Run(tc.name, func(b *testing.B) {
			ca := newAuthority(b)
			v := &verifier{common: p.server.common, epoch: newEpoch(material{roots: ca.roots()}), server: true}
			cs := tls.ConnectionState{PeerCertificates: []*x509.Certificate{ca.leaf(b, clientID, time.Hour).Certificate.Leaf}}
			b.ReportAllocs()
			for b.Loop() {
				if err := v.verify(cs); err != nil {
					b.Fatal(err)
				}
				if !tc.known {
					v.known.by = nil
				}
			}
		})
	}
}
