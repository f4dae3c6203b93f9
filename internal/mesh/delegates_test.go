package mesh

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

func virtualService(namespace, name string) Meta {
	return Meta{Origin: verdict.Origin{Ref: verdict.Ref{Kind: "VirtualService", Namespace: namespace, Name: name}}}
}

// rootAndDelegate are a set with one rule that delegates, and its delegate.
func rootAndDelegate(root []HTTPMatch, to ...HTTPMatch) []RouteSet {
	r, d := virtualService("default", "root"), virtualService("team", "login")
	return []RouteSet{
		{Meta: r, Namespace: "default", Name: "root", Hosts: []string{"a.test"}, Gateways: []string{MeshGateway}, HTTP: []HTTPRule{
			{Origin: r.Origin.At("spec.http[0]"), Name: "r", Matches: root, Delegate: &Delegate{"team", "login"}, Timeout: time.Second, TimeoutSet: true, Retries: &Retries{Attempts: 7}},
		}},
		{Meta: d, Namespace: "team", Name: "login", HTTP: []HTTPRule{
			{Origin: d.Origin.At("spec.http[0]"), Name: "d", Matches: to, Direct: &DirectResponse{Status: 200}, Retries: &Retries{Attempts: 1}},
		}},
	}
}

func path(k MatchKind, v string) HTTPMatch { return HTTPMatch{Path: &StringMatch{k, v}} }

// TestDelegatedMatches joins root's matches with a delegate's.
func TestDelegatedMatches(t *testing.T) {
	header := func(name string, k MatchKind, v string) []NamedMatch {
		return []NamedMatch{{Name: name, StringMatch: StringMatch{k, v}}}
	}
	for name, c := range map[string]struct {
		root, to []HTTPMatch
		want     []HTTPMatch
		conflict bool
	}{
		"root has none":         {to: []HTTPMatch{path(Prefix, "/a")}, want: []HTTPMatch{path(Prefix, "/a")}},
		"the delegate has none": {root: []HTTPMatch{path(Prefix, "/a")}, want: []HTTPMatch{path(Prefix, "/a")}},
		"neither":               {},
		"longer prefix":         {root: []HTTPMatch{path(Prefix, "/a")}, to: []HTTPMatch{path(Prefix, "/a/b")}, want: []HTTPMatch{path(Prefix, "/a/b")}},
		"exact in prefix":       {root: []HTTPMatch{path(Prefix, "/a")}, to: []HTTPMatch{path(Exact, "/a/b")}, want: []HTTPMatch{path(Exact, "/a/b")}},
		"another prefix":        {root: []HTTPMatch{path(Prefix, "/a")}, to: []HTTPMatch{path(Prefix, "/b")}, conflict: true},
		"wider prefix":          {root: []HTTPMatch{path(Prefix, "/a/b")}, to: []HTTPMatch{path(Prefix, "/a")}, conflict: true},
		"prefix in exact":       {root: []HTTPMatch{path(Exact, "/a")}, to: []HTTPMatch{path(Prefix, "/a")}, conflict: true},
		"regex":                 {root: []HTTPMatch{path(Prefix, "/a")}, to: []HTTPMatch{path(Regex, "/a.*")}, conflict: true},
		"folding":               {root: []HTTPMatch{path(Prefix, "/a")}, to: []HTTPMatch{{Path: &StringMatch{Prefix, "/a/b"}, IgnorePathCase: true}}, conflict: true},
		"port":                  {root: []HTTPMatch{{Port: 80}}, to: []HTTPMatch{{Port: 81}}, conflict: true},
		"labels":                {root: []HTTPMatch{{SourceLabels: map[string]string{"a": "1"}}}, to: []HTTPMatch{{SourceLabels: map[string]string{"a": "2"}}}, conflict: true},
		"gateways":              {root: []HTTPMatch{{Gateways: []string{"mesh"}}}, to: []HTTPMatch{{Gateways: []string{"mesh", "ns/g"}}}, conflict: true},
		"one match without a partner": {
			root: []HTTPMatch{path(Prefix, "/a")}, to: []HTTPMatch{path(Prefix, "/a/b"), path(Prefix, "/b")}, conflict: true,
		},
		"each with each": {
			root: []HTTPMatch{path(Prefix, "/a"), {Method: &StringMatch{Exact, "GET"}}}, to: []HTTPMatch{path(Prefix, "/a/b")},
			want: []HTTPMatch{path(Prefix, "/a/b"), {Path: &StringMatch{Prefix, "/a/b"}, Method: &StringMatch{Exact, "GET"}}},
		},
		"all fields": {
			root: []HTTPMatch{{Name: "r", Headers: header("b", Prefix, "x"), WithoutHeaders: header("w", Prefix, "x"), Port: 80, SourceLabels: map[string]string{"a": "1"}, SourceNamespace: "n", Gateways: []string{"mesh"}}},
			to:   []HTTPMatch{{Name: "d", Headers: append(header("a", Exact, "1"), header("b", Exact, "xy")...), WithoutHeaders: header("w", Exact, "xy"), SourceLabels: map[string]string{"b": "2"}}},
			want: []HTTPMatch{{
				Name: "r-d", Headers: append(header("a", Exact, "1"), header("b", Exact, "xy")...), WithoutHeaders: append(header("w", Prefix, "x"), header("w", Exact, "xy")...),
				Port: 80, SourceLabels: map[string]string{"a": "1", "b": "2"}, SourceNamespace: "n", Gateways: []string{"mesh"},
			}},
		},
	} {
		var v verdicts
		out := delegated(&v, rootAndDelegate(c.root, c.to...), nil)
		if len(out) != 1 {
			t.Fatalf("%s: %d sets", name, len(out))
		}
		if c.conflict {
			if len(out[0].HTTP) != 0 || len(v.list) != 1 || v.list[0].Code != verdict.Invalid || v.list[0].By.Name != "root" {
				t.Errorf("%s: %d rules, %v", name, len(out[0].HTTP), v.list)
			}
			continue
		}
		if len(out[0].HTTP) != 1 || len(v.list) != 0 {
			t.Errorf("%s: %d rules, %v", name, len(out[0].HTTP), v.list)
			continue
		}
		if d := cmp.Diff(c.want, out[0].HTTP[0].Matches); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestDelegatedDefaults: what the delegate's rule does not say, root's says.
func TestDelegatedDefaults(t *testing.T) {
	var v verdicts
	sets := rootAndDelegate(nil)
	got := delegated(&v, sets, nil)[0].HTTP[0]
	if got.Name != "r-d" || got.Timeout != time.Second || got.Retries.Attempts != 1 || got.Direct == nil || got.Delegate != nil {
		t.Errorf("got %+v", got)
	}
	sets[1].HTTP[0].TimeoutSet = true // 0s switches root's off
	if got := delegated(&v, sets, nil)[0].HTTP[0]; got.Timeout != 0 {
		t.Errorf("the time-out is %s", got.Timeout)
	}
	if sets[0].HTTP[0].Delegate == nil || len(sets[0].HTTP[0].Matches) != 0 {
		t.Error("the input was changed")
	}
}

// TestDelegateNotUsable: the rule is left out, and both sides are told.
func TestDelegateNotUsable(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]RouteSet) []RouteSet
		want   []string
	}{
		"missing": {func(s []RouteSet) []RouteSet { return s[:1] },
			[]string{"VirtualService default/root spec.http[0].delegate: Waiting: VirtualService team/login does not exist"}},
		"private": {func(s []RouteSet) []RouteSet { s[1].ExportTo = []string{"."}; return s }, []string{
			"VirtualService default/root spec.http[0].delegate: Waiting: VirtualService team/login is not exported to the namespace default",
			"VirtualService team/login: SelectsNothing: no VirtualService that sees it delegates to it"}},
		"with hosts": {func(s []RouteSet) []RouteSet { s[1].Hosts = []string{"b.test"}; return s },
			[]string{"VirtualService default/root spec.http[0].delegate: Invalid: VirtualService team/login has hosts"}},
		"unused": {func(s []RouteSet) []RouteSet { return s[1:] },
			[]string{"VirtualService team/login: SelectsNothing: no VirtualService that sees it"}},
	} {
		var v verdicts
		for _, r := range delegated(&v, c.change(rootAndDelegate(nil)), nil) {
			if r.Name == "root" && len(r.HTTP) != 0 {
				t.Errorf("%s: the rule acts", name)
			}
		}
		if len(v.list) != len(c.want) {
			t.Errorf("%s: %v", name, v.list)
			continue
		}
		for i, w := range c.want {
			if !strings.HasPrefix(v.list[i].String(), w) {
				t.Errorf("%s: %s", name, v.list[i])
			}
		}
	}
	var v verdicts
	sets := rootAndDelegate(nil)
	sets[1].ExportTo = []string{"default"}
	if out := delegated(&v, sets, []string{"."}); len(out[0].HTTP) != 1 || len(v.list) != 0 {
		t.Errorf("exported to root's namespace: %v", v.list)
	}
}
