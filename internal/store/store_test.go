package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func decode(t *testing.T, text string) []*api.Object {
	t.Helper()
	objects, err := api.Decode(strings.NewReader(text), "in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// virtualService gives a VirtualService's document.
func virtualService(name, subset string) string {
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s}\nspec: {hosts: [%s], http: [{timeout: 1500ms, route: [{destination: {host: %s, subset: %s}}]}]}\n", name, name, name, subset)
}

func configMap(name, value, label string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {l: %q}}\ndata: {k: %q}\n", name, label, value)
}

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func apply(t *testing.T, s *Store, text string) Result {
	t.Helper()
	r, err := s.Apply(decode(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// summary gives the table in one line for each object.
func summary(s *Store) []string {
	objects, _ := s.Snapshot()
	var lines []string
	for _, o := range objects {
		lines = append(lines, fmt.Sprintf("%s gen=%d version=%d", o.Ref(), o.Meta.Generation, o.Meta.Version))
	}
	return lines
}

func changesOf(r Result) string {
	var words []string
	for _, o := range r.Outcomes {
		words = append(words, string(o.Change))
	}
	return strings.Join(words, " ")
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestApplyCounts(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for _, step := range []struct {
		name, text, changes string
		revision            int64
		want                []string
	}{
		{"create two", virtualService("a", "v1") + configMap("c", "1", "x"), "created created", 1,
			[]string{"ConfigMap default/c gen=1 version=1", "VirtualService default/a gen=1 version=1"}},
		{"the same again", virtualService("a", "v1") + configMap("c", "1", "x"), "unchanged unchanged", 1,
			[]string{"ConfigMap default/c gen=1 version=1", "VirtualService default/a gen=1 version=1"}},
		{"one spec changes", virtualService("a", "v2") + configMap("c", "1", "x"), "configured unchanged", 2,
			[]string{"ConfigMap default/c gen=1 version=1", "VirtualService default/a gen=2 version=2"}},
		{"labels change no generation", configMap("c", "1", "y"), "configured", 3,
			[]string{"ConfigMap default/c gen=1 version=3", "VirtualService default/a gen=2 version=2"}},
		{"data does", configMap("c", "2", "y"), "configured", 4,
			[]string{"ConfigMap default/c gen=2 version=4", "VirtualService default/a gen=2 version=2"}},
	} {
		r := apply(t, s, step.text)
		if changesOf(r) != step.changes || r.Revision != step.revision || s.Revision() != step.revision {
			t.Errorf("%s: %q at revision %d, want %q at %d", step.name, changesOf(r), r.Revision, step.changes, step.revision)
		}
		equal(t, step.want, summary(s))
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	bad := errors.New("bad object")
	s := open(t, t.TempDir(), Options{Validate: func(o *api.Object) error {
		if o.Meta.Name == "bad" {
			return bad
		}
		return nil
	}})
	apply(t, s, virtualService("a", "v1"))
	before := summary(s)
	if _, err := s.Apply(decode(t, virtualService("a", "v2")+virtualService("bad", "v1"))); !errors.Is(err, bad) {
		t.Errorf("error %v, want %v", err, bad)
	}
	var conflict *ConflictError
	if _, err := s.Apply(decode(t, virtualService("b", "v1")+virtualService("b", "v2"))); !errors.As(err, &conflict) {
		t.Errorf("error %v, want a conflict", err)
	}
	if r, err := s.Plan(decode(t, virtualService("a", "v9")+virtualService("z", "v1"))); err != nil || changesOf(r) != "configured created" {
		t.Errorf("plan: %q, %v", changesOf(r), err)
	}
	equal(t, before, summary(s))
}

func TestDelete(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, virtualService("a", "v1")+virtualService("b", "v1"))
	a, ghost := verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: "a"}, verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: "ghost"}
	r, err := s.Delete([]verdict.Ref{ghost, a})
	var missing *NotFoundError
	if !errors.As(err, &missing) || missing.Ref != ghost || changesOf(r) != "deleted" || r.Revision != 2 {
		t.Errorf("delete: %q at %d, %v", changesOf(r), r.Revision, err)
	}
	equal(t, []string{"VirtualService default/b gen=1 version=1"}, summary(s))
	if _, err := s.Get(a); !errors.As(err, &missing) {
		t.Errorf("get after delete: %v", err)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(1000, 5)
	s := open(t, dir, Options{Now: func() time.Time { return now }})
	long := strings.Repeat("n", 200) + "." + strings.Repeat("m", 50)
	apply(t, s, virtualService("a", "v1")+configMap("c", "1", "x")+configMap(long, "1", "x"))
	apply(t, s, virtualService("a", "v2"))
	if _, err := s.Delete([]verdict.Ref{{Kind: "ConfigMap", Namespace: "default", Name: "c"}}); err != nil {
		t.Fatal(err)
	}
	want, wantRevision := s.Snapshot()
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "used by another process") {
		t.Errorf("second store in the same directory: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(decode(t, configMap("late", "1", "x"))); err == nil {
		t.Error("a closed store accepted a change")
	}
	again := open(t, dir, Options{})
	got, revision := again.Snapshot()
	if revision != wantRevision || len(got) != len(want) || len(again.Damaged()) > 0 {
		t.Fatalf("revision %d, %d objects, damaged %v; want %d, %d", revision, len(got), again.Damaged(), wantRevision, len(want))
	}
	for i := range want {
		equal(t, want[i].Meta, got[i].Meta)
		if !api.SameSpec(want[i], got[i]) {
			t.Errorf("%s: the content changed", want[i].Ref())
		}
	}
	if r := apply(t, again, virtualService("a", "v2")); changesOf(r) != "unchanged" {
		t.Errorf("the same object after the restart: %s", changesOf(r))
	}
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, virtualService("a", "v1")+virtualService("b", "v1")+virtualService("c", "v1"))
	s.Close()
	objects := filepath.Join(dir, "objects")
	write(t, filepath.Join(objects, "VirtualService_default_a.json"), `{"format":1,"object":`)
	write(t, filepath.Join(objects, "VirtualService_default_b.json"), `{"format":99}`)
	write(t, filepath.Join(dir, "revision.json"), `garbage`)
	again := open(t, dir, Options{})
	equal(t, []string{"VirtualService default/c gen=1 version=1"}, summary(again))
	var texts []string
	for _, err := range again.Damaged() {
		texts = append(texts, strings.ReplaceAll(err.Error(), dir, "DIR"))
	}
	equal(t, []string{
		"DIR/objects/VirtualService_default_a.json is damaged: unexpected end of JSON input",
		"DIR/objects/VirtualService_default_b.json has format 99; this version of lateen knows 1",
		"DIR/revision.json is damaged, counting on from the objects: invalid character 'g' looking for beginning of value",
	}, texts)
	if r := apply(t, again, virtualService("a", "v2")); r.Revision != 3 {
		t.Errorf("the revision went on with %d, want 3", r.Revision)
	}
}

// TestInterruptedChange starts a store as a crash between the journal and the
// objects leaves it: the change is completed.
func TestInterruptedChange(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, virtualService("old", "v1"))
	c := s.begin()
	for _, o := range decode(t, virtualService("a", "v1")+virtualService("b", "v1")) {
		c.apply(o, origin{})
	}
	j := journal{Format: recordFormat, Revision: 2, Remove: []string{"VirtualService_default_old.json"}}
	for _, e := range c.put {
		if err := j.put(e); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	write(t, filepath.Join(dir, "journal.json"), string(text))
	again := open(t, dir, Options{})
	equal(t, []string{"VirtualService default/a gen=1 version=2", "VirtualService default/b gen=1 version=2"}, summary(again))
	if again.Revision() != 2 {
		t.Errorf("revision %d, want 2", again.Revision())
	}
}

func TestWatch(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	changed := s.Watch(ctx)
	<-changed
	apply(t, s, virtualService("a", "v1"))
	apply(t, s, virtualService("a", "v2"))
	<-changed
	select {
	case <-changed:
		t.Error("two changes gave two tokens although nobody received the first")
	default:
	}
	cancel()
	if _, open := <-changed; open {
		t.Error("the channel is not closed")
	}
	apply(t, s, virtualService("a", "v3"))
}

func TestPrior(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	type doc struct{ Routes map[string]string }
	var got doc
	if found, err := s.LoadPrior("routes", &got); found || err != nil {
		t.Errorf("missing document: %v, %v", found, err)
	}
	want := doc{Routes: map[string]string{"a": "v1"}}
	if err := s.SavePrior("routes", want); err != nil {
		t.Fatal(err)
	}
	if found, err := s.LoadPrior("routes", &got); !found || err != nil {
		t.Errorf("saved document: %v, %v", found, err)
	}
	equal(t, want, got)
	write(t, filepath.Join(dir, "prior", "routes.json"), `{"format":1,"data":`)
	if _, err := s.LoadPrior("routes", &got); err == nil || !strings.Contains(err.Error(), "prior document routes is damaged") {
		t.Errorf("damaged document: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFailedWrite: a change that cannot be written is not visible, not now and
// not after a restart.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, virtualService("a", "v1"))
	before := summary(s)
	// A directory stands where the file of b must go, so that the change fails
	// after a was written.
	write(t, filepath.Join(dir, "objects", "VirtualService_default_b.json", "x"), "x")
	if _, err := s.Apply(decode(t, virtualService("a", "v2")+virtualService("b", "v1"))); err == nil || !strings.Contains(err.Error(), "storing the configuration") {
		t.Errorf("error %v", err)
	}
	equal(t, before, summary(s))
	// The undoing fails as well, as it must remove the directory.
	if _, err := s.Apply(decode(t, virtualService("c", "v1"))); err == nil || !strings.Contains(err.Error(), "until it is opened again") {
		t.Errorf("a change after a failed undoing: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "objects", "VirtualService_default_b.json")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	again := open(t, dir, Options{})
	equal(t, before, summary(again))
	if r := apply(t, again, virtualService("a", "v1")); changesOf(r) != "unchanged" {
		t.Errorf("a is %s", changesOf(r))
	}
}

func TestList(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, virtualService("a", "v1")+configMap("a", "1", "x")+"---\n{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: shop}}\n")
	for _, c := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "[ConfigMap default/a ConfigMap shop/b Namespace shop VirtualService default/a]"},
		{Filter{Kind: "ConfigMap"}, "[ConfigMap default/a ConfigMap shop/b]"},
		{Filter{Namespace: "shop"}, "[ConfigMap shop/b Namespace shop]"},
		{Filter{Name: "a"}, "[ConfigMap default/a VirtualService default/a]"},
		{Filter{Kind: "Namespace", Namespace: "default", Name: "shop"}, "[Namespace shop]"},
		{Filter{Kind: "Gateway"}, "[]"},
	} {
		refs := []verdict.Ref{}
		for _, o := range s.List(c.filter) {
			refs = append(refs, o.Ref())
		}
		equal(t, c.want, fmt.Sprint(refs))
	}
}
