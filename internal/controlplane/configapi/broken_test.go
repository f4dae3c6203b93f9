package configapi_test

import (
	"flag"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// server is a configuration API over a store, behind a real socket.
type server struct {
	dir    string // of the store
	store  *store.Store
	client *configapi.Client
	deps   *configapi.Deps
}

func serve(t *testing.T, change func(*configapi.Deps)) *server {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(filepath.Join(dir, "state"), store.Options{Validate: validate.Error})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	deps := configapi.Deps{Store: s, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&deps)
	}
	socket := filepath.Join(dir, configapi.SocketName)
	l, err := configapi.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: configapi.NewHandler(deps)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	return &server{dir: filepath.Join(dir, "state"), store: s, client: configapi.NewClient(socket), deps: &deps}
}

// content gives everything that a store has on disk.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const good = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: reviews
        subset: v1
`

// TestBroken applies one file for each kind of mistake. Every one gives its own
// error, and nothing in the store changes, in memory or on disk.
func TestBroken(t *testing.T) {
	s := serve(t, nil)
	if _, err := s.client.Apply(t.Context(), []configapi.File{{Name: "good.yaml", Content: []byte(good)}}, configapi.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	objectsBefore, revisionBefore := s.store.Snapshot()
	diskBefore := content(t, s.dir)
	paths, err := filepath.Glob("testdata/broken/*.[yj]*")
	paths = slices.DeleteFunc(paths, func(p string) bool { return filepath.Ext(p) == ".err" })
	if err != nil || len(paths) < 30 {
		t.Fatalf("found %d broken files, want at least 30 (%v)", len(paths), err)
	}
	texts := map[string]string{}
	for _, path := range paths {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.client.Apply(t.Context(), []configapi.File{{Name: "other.yaml", Content: []byte(strings.ReplaceAll(good, "name: reviews", "name: other"))}, {Name: name, Content: text}}, configapi.ChangeOptions{})
			if err == nil {
				t.Fatal("the broken file was applied")
			}
			got := err.Error() + "\n"
			golden := path + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("error text (-want +got):\n%s", diff)
			}
			if other, twice := texts[got]; twice {
				t.Errorf("same error as %s", other)
			}
			texts[got] = name
			objects, revision := s.store.Snapshot()
			if revision != revisionBefore || !cmp.Equal(objects, objectsBefore, cmp.Comparer(func(a, b *api.Object) bool { return a == b })) {
				t.Errorf("the store changed: revision %d, %d objects", revision, len(objects))
			}
			if diff := cmp.Diff(diskBefore, content(t, s.dir)); diff != "" {
				t.Errorf("the files changed:\n%s", diff)
			}
		})
	}
}
