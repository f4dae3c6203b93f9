package wire

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuestion(t *testing.T) {
	for name, want := range map[string]Question{
		"ready":               {},
		"addr/10.96.0.7:9080": {Addr: netip.MustParseAddr("10.96.0.7"), Port: 9080},
		"addr/[fd00::1]:80":   {Addr: netip.MustParseAddr("fd00::1"), Port: 80},
		"host/reviews:9080":   {Host: "reviews", Port: 9080},
		"host/[fd00::1]:80":   {Host: "[fd00::1]", Port: 80},
	} {
		got, err := ParseQuestion(name)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if got.Name() != name {
			t.Errorf("%s: named %s", name, got.Name())
		}
	}
	for _, bad := range []string{"", "x", "addr/", "addr/1.2.3.4", "addr/fe80::1%eth0:80", "addr/[fe80::1%eth0]:80", "host/", "host/:80", "host/a:99999", "host/a:"} {
		if q, err := ParseQuestion(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, q)
		}
	}
}

func TestAnswer(t *testing.T) {
	for _, want := range []Answer{{}, {Hosts: []string{"a.b.svc.cluster.local", "c"}}, {Refused: "too many"}} {
		got, err := UnmarshalAnswer(want.Marshal())
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v: %+v, %v", want, got, err)
		}
	}
	if _, err := UnmarshalAnswer([]byte{0x0a, 0x05, 'x'}); err == nil {
		t.Error("a cut answer is taken")
	}
	// A field of a later version is skipped.
	if got, err := UnmarshalAnswer(append(Answer{Refused: "r"}.Marshal(), 0x7a, 0x01, 'x')); err != nil || got.Refused != "r" {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add("addr/10.96.0.7:9080")
	f.Add("host/reviews:9080")
	f.Fuzz(func(t *testing.T, name string) {
		q, err := ParseQuestion(name)
		if err != nil {
			return
		}
		if again, err := ParseQuestion(q.Name()); err != nil || again != q {
			t.Errorf("%q: %+v, then %+v, %v", name, q, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(Answer{Hosts: []string{"a"}, Refused: "b"}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := UnmarshalAnswer(b)
		if err != nil {
			return
		}
		if again, err := UnmarshalAnswer(a.Marshal()); err != nil || !cmp.Equal(again, a) {
			t.Errorf("%+v, then %+v, %v", a, again, err)
		}
	})
}
