package store

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// watch follows root until the test ends.
func watch(t *testing.T, s *Store, root string) *Directory {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d, err := s.WatchDirectory(ctx, root)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-d.Done() })
	return d
}

// eventually waits until the table holds these lines.
func eventually(t *testing.T, s *Store, want ...string) {
	t.Helper()
	eventuallyTrue(t, func() bool { return slices.Equal(names(s), want) }, func() any { return names(s) })
}

func eventuallyTrue(t *testing.T, ok func() bool, state func() any) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached; it is %v", state())
		}
	}
}

func names(s *Store) []string {
	objects, _ := s.Snapshot()
	var list []string
	for _, o := range objects {
		list = append(list, o.Meta.Name+":"+string(rune('0'+o.Meta.Generation)))
	}
	return list
}

// problems gives the errors of all files, with root left out.
func problems(d *Directory, root string) []string {
	var list []string
	for _, f := range d.Files() {
		for _, e := range f.Errors {
			list = append(list, strings.ReplaceAll(e, root+"/", ""))
		}
	}
	return list
}

func TestWatchDirectory(t *testing.T) {
	root := t.TempDir()
	file := func(name string) string { return filepath.Join(root, name) }
	write(t, file("a.yaml"), virtualService("a", "v1")+virtualService("a2", "v1"))
	write(t, file("sub/deep/b.yml"), virtualService("b", "v1"))
	write(t, file("notes.txt"), "not configuration")
	write(t, file(".hidden.yaml"), "not: read")
	s := open(t, t.TempDir(), Options{})
	d := watch(t, s, root)
	eventually(t, s, "a:1", "a2:1", "b:1")

	write(t, file("a.yaml"), virtualService("a", "v2")+virtualService("a2", "v1"))
	eventually(t, s, "a:2", "a2:1", "b:1")

	// A broken save keeps the last good objects and says where it is broken.
	write(t, file("a.yaml"), virtualService("a", "v3")+"---\nkind: Nonsense\napiVersion: v1\n")
	eventuallyTrue(t, func() bool { return len(problems(d, root)) > 0 }, func() any { return d.Files() })
	equal(t, []string{"a.yaml:7: Nonsense: kind Nonsense of apiVersion v1 is not known"}, problems(d, root))
	equal(t, []string{"a:2", "a2:1", "b:1"}, names(s))
	equal(t, 2, d.Files()[0].Objects)

	// Other files still change meanwhile; new directories are followed.
	write(t, file("new/c.json"), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}`)
	eventually(t, s, "c:1", "a:2", "a2:1", "b:1")
	write(t, file("new/c.json"), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c2"}}`)
	eventually(t, s, "c2:1", "a:2", "a2:1", "b:1")

	// A fixed save clears the status.
	write(t, file("a.yaml"), virtualService("a", "v3"))
	eventually(t, s, "c2:1", "a:3", "b:1")
	equal(t, nil, errNil(problems(d, root)))

	// Removal removes; an editor's rename does not.
	if err := os.Rename(file("a.yaml"), file("a~")); err != nil {
		t.Fatal(err)
	}
	write(t, file("a.yaml"), virtualService("a", "v3"))
	if err := os.RemoveAll(file("sub")); err != nil {
		t.Fatal(err)
	}
	eventuallyTrue(t, func() bool { n := names(s); return len(n) == 2 && n[0] == "c2:1" && strings.HasPrefix(n[1], "a:") }, func() any { return names(s) })
}

// errNil makes an empty list comparable with nil.
func errNil(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

func TestDirectoryOwnership(t *testing.T) {
	root := t.TempDir()
	s := open(t, t.TempDir(), Options{})
	apply(t, s, virtualService("applied", "v1"))
	write(t, filepath.Join(root, "a.yaml"), virtualService("a", "v1"))
	write(t, filepath.Join(root, "b.yaml"), virtualService("a", "v2"))
	write(t, filepath.Join(root, "c.yaml"), virtualService("applied", "v2")+virtualService("c", "v1"))
	d := watch(t, s, root)
	eventually(t, s, "a:1", "applied:1")
	equal(t, []string{
		"VirtualService default/a: given twice, at a.yaml:2 and b.yaml:2",
		"VirtualService default/applied: c.yaml:2: the object has been applied; delete it first or remove it from the file",
	}, problems(d, root))
	for _, name := range []string{"a"} {
		if _, err := s.Apply(decode(t, virtualService(name, "v9"))); err == nil || !strings.Contains(err.Error(), "comes from the watched file") {
			t.Errorf("applying an object of the directory: %v", err)
		}
		if _, err := s.Delete([]verdict.Ref{{Kind: "VirtualService", Namespace: "default", Name: name}}); err == nil || !strings.Contains(err.Error(), "comes from the watched file") {
			t.Errorf("deleting an object of the directory: %v", err)
		}
	}
	// The object moves to another file: the same object, not a new one.
	before, err := s.Get(verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, s, "a:2", "applied:1")
	after, err := s.Get(before.Ref())
	if err != nil || after.Meta.UID != before.Meta.UID {
		t.Errorf("the moved object is another one: %+v, %v", after, err)
	}
}

// TestDirectoryRestart: identity survives, and the last good content of a file
// that is broken by then does as well; a directory that is not watched again
// brings nothing back.
func TestDirectoryRestart(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "a.yaml"), virtualService("a", "v1"))
	write(t, filepath.Join(root, "b.yaml"), virtualService("b", "v1"))
	write(t, filepath.Join(root, "c.yaml"), virtualService("c", "v1"))
	ctx, cancel := context.WithCancel(t.Context())
	d, err := s.WatchDirectory(ctx, root)
	if err != nil {
		t.Fatal(err)
	}
	uid := func(s *Store, name string) string {
		o, err := s.Get(verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return o.Meta.UID
	}
	want := uid(s, "a")
	cancel()
	<-d.Done()
	s.Close()

	write(t, filepath.Join(root, "b.yaml"), "broken: [")
	if err := os.Remove(filepath.Join(root, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, Options{})
	if n := names(again); len(n) != 0 {
		t.Errorf("objects of an unwatched directory are in force: %v", n)
	}
	d = watch(t, again, root)
	equal(t, []string{"a:1", "b:1"}, names(again))
	equal(t, want, uid(again, "a"))
	equal(t, 1, len(problems(d, root)))
}

func TestWatchSingleFile(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "mesh.conf")
	write(t, path, virtualService("a", "v1"))
	write(t, filepath.Join(root, "other.yaml"), virtualService("other", "v1"))
	s := open(t, t.TempDir(), Options{})
	watch(t, s, path)
	eventually(t, s, "a:1")
	write(t, path, virtualService("a", "v2"))
	eventually(t, s, "a:2")
}
