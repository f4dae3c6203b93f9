package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/cli"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"lateen": func() {
			env := &cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
			os.Exit(cli.Run(context.Background(), env, os.Args[1:]))
		},
	})
}

// TestScripts runs testdata/script: commands against a real configuration API
// with a real store. What a control plane would say lies in the script's files
// statuses.json and report.json.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
			env.Setenv("LATEEN_NAME", "")
			return serve(env)
		},
	})
}

// serve starts the API of the mesh "default".
func serve(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, "run", "lateen", "default")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	s, err := store.Open(filepath.Join(env.WorkDir, "state"), store.Options{Validate: validate.Error})
	if err != nil {
		return err
	}
	env.Defer(func() { s.Close() })
	said := said{store: s, dir: env.WorkDir}
	watching, stop := context.WithCancel(context.Background())
	if watched := filepath.Join(env.WorkDir, "watched"); exists(watched) {
		d, err := s.WatchDirectory(watching, watched)
		if err != nil {
			stop()
			return err
		}
		env.Defer(func() { <-d.Done() })
	}
	env.Defer(stop)
	l, err := configapi.Listen(filepath.Join(dir, configapi.SocketName))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: configapi.NewHandler(configapi.Deps{
		Store: s, Statuses: said, Progress: said, Files: s.Files, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	env.Defer(func() { srv.Close(); <-done })
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// said is a control plane that says what the script's files say.
type said struct {
	store *store.Store
	dir   string
}

func (c said) Statuses() ([]verdict.Status, int64) {
	var list []verdict.Status
	if err := c.read("statuses.json", &list); err != nil {
		panic(err)
	}
	return list, c.store.Revision()
}

func (c said) Wait(context.Context, int64) (report configapi.Report, err error) {
	return report, c.read("report.json", &report)
}

func (c said) read(name string, into any) error {
	text, err := os.ReadFile(filepath.Join(c.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
