package cli

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/push"
)

func TestSpread(t *testing.T) {
	proxy := func(name string, revision int64, waiting string, refusals ...string) connected {
		return connected{ProxyStatus: push.ProxyStatus{Name: name, Revision: revision, Offered: 3, Waiting: waiting, Refusals: refusals}}
	}
	for want, list := range map[string][]connected{
		"1 of 1 proxy has it in force":                                                         {proxy("a", 3, "")},
		"0 of 0 proxies have it in force":                                                      nil,
		"1 of 3 proxies have it in force\nstill waiting for b (its answer to cds), c":          {proxy("a", 3, ""), proxy("b", 2, "its answer to cds"), proxy("c", 2, "")},
		"0 of 1 proxy has it in force\nrefused by a: cluster \"x\": no such thing":             {proxy("a", 3, "", "cluster \"x\": no such thing")},
		"0 of 1 proxy has it in force\nstill waiting for a (eds)\nrefused by a: cluster \"y\"": {proxy("a", 2, "eds", "cluster \"y\"")},
	} {
		if got := spreadOver(list).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
