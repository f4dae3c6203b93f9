package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/bench/mesh"
)

func samples(value func(i int) int64) []sample {
	var out []sample
	for i := range 41 {
		out = append(out, sample{At: time.Duration(i) * sampleEvery, Proxy: "p", Anon: value(i)}, sample{At: time.Duration(i) * sampleEvery, Proxy: "q", Anon: 1})
	}
	return out
}

func TestFlat(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		value func(int) int64
		flat  bool
	}{
		"level":                 {func(int) int64 { return 30 * mib }, true},
		"grows at first":        {func(i int) int64 { return int64(min(i, 20)) * 10 * mib }, true},
		"saw":                   {func(i int) int64 { return 30*mib + int64(i%4)*5*mib }, true},
		"burst at the end":      {func(i int) int64 { return 30*mib + int64(max(0, i-36))*8*mib }, true},
		"shrinks":               {func(i int) int64 { return 100*mib - int64(i)*mib }, true},
		"half a MiB per sample": {func(i int) int64 { return 30*mib + int64(i)*mib/2 }, false},
		"leaks beside a saw":    {func(i int) int64 { return 30*mib + int64(i)*mib/2 + int64(i%4)*2*mib }, false},
	} {
		t.Run(name, func(t *testing.T) {
			if text, ok := flat(samples(c.value), "p"); ok != c.flat {
				t.Error(text)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	good := func() *report {
		return &report{Steady: map[string]account{"h1": {Done: 100}}, Resumed: 1, Samples: samples(func(int) int64 { return 1 }), Before: []sample{{Proxy: "p"}}}
	}
	if err := good().verdict(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*report){
		"well-behaved traffic":      func(r *report) { r.Faults = []string{"x"} },
		"no end":                    func(r *report) { r.Hangs = []string{"x"} },
		"refused":                   func(r *report) { r.Refusals = []string{"x"} },
		"log errors":                func(r *report) { r.Complaints = []string{"x"} },
		"left after":                func(r *report) { r.Leaks = []string{"x"} },
		"never succeeded":           func(r *report) { r.Steady["tcp"] = account{Failed: 1} },
		"not even tried":            func(r *report) { r.Unsent = 50 },
		"no TLS session":            func(r *report) { r.Resumed = 0 },
		"memory in the second half": func(r *report) { r.Samples = samples(func(i int) int64 { return int64(i) << 20 }) },
	} {
		r := good()
		spoil(r)
		if err := r.verdict(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestRootsGoRound checks that at every moment of a turn each side trusts what the
// other may still hold: certificates of this phase and of the one before.
func TestRootsGoRound(t *testing.T) {
	a, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	var before *mesh.Authority
	var seen []string
	for i := range 2 * len(phases) {
		a.start = time.Now().Add(-time.Duration(i)*phaseLength - time.Second)
		signer, bundle := a.now()
		for _, r := range []*mesh.Authority{signer, before} {
			if r != nil && !bytes.Contains(bundle, r.RootPEM) {
				t.Errorf("phase %d: a certificate of %s is still about and not trusted", i, r.Name())
			}
		}
		seen, before = append(seen, signer.Name()), signer
		n := 0
		for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				t.Error(errors.Join(errors.New("bundle"), err))
			}
			n++
		}
		if n == 0 || n > 2 {
			t.Errorf("phase %d: %d roots", i, n)
		}
	}
	if !strings.Contains(strings.Join(seen, ","), "root 0,soak root 1") {
		t.Errorf("signers %v", seen)
	}
}
