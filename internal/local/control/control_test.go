package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

// fakeMesh runs commands on the host and has one log.
type fakeMesh struct {
	log   string
	admin string // address of an HTTP server
}

func (fakeMesh) Info() Info {
	return Info{Name: "m", Ingress: Ingress{HTTP: "http://localhost:8080"}}
}
func (fakeMesh) Pods() []supervise.Status {
	return []supervise.Status{{Namespace: "default", Name: "web-0", Phase: "Running"}}
}

func (m fakeMesh) LogFile(t Target) (string, error) {
	if t.Name != "web" {
		return "", supervise.ErrNotFound
	}
	return m.log, nil
}

func (fakeMesh) Exec(t Target, c Command, in, out, errs *os.File) (Running, error) {
	if t.Name != "web" {
		return nil, errors.New("no such workload")
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &process{cmd: cmd, done: make(chan struct{})}
	go func() { cmd.Wait(); close(r.done) }()
	return r, nil
}

func (m fakeMesh) Admin(context.Context, Target) (net.Conn, error) { return net.Dial("tcp", m.admin) }

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *process) Done() <-chan struct{} { return p.done }
func (p *process) Result() (int, error)  { <-p.done; return p.cmd.ProcessState.ExitCode(), nil }
func (p *process) Signal(sig int) error  { return p.cmd.Process.Signal(syscall.Signal(sig)) }

func serve(t *testing.T, m fakeMesh, stop Stop) *Client {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: NewHandler(m, stop, slog.New(slog.DiscardHandler))}
	done := make(chan struct{})
	go func() { srv.Serve(l); close(done) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return NewClient(dir)
}

func TestInfoPodsDown(t *testing.T) {
	stopped := make(chan struct{})
	c := serve(t, fakeMesh{}, func() { close(stopped) })
	if i, err := c.Info(t.Context()); err != nil || i.Name != "m" || i.Ingress.HTTP != "http://localhost:8080" {
		t.Errorf("info: %+v %v", i, err)
	}
	if p, err := c.Pods(t.Context()); err != nil || len(p) != 1 || p[0].Name != "web-0" {
		t.Errorf("pods: %+v %v", p, err)
	}
	if err := c.Down(t.Context()); err != nil {
		t.Error(err)
	}
	<-stopped
	if _, err := NewClient(t.TempDir()).Info(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no mesh: %v", err)
	}
}

// TestExec: the command has the caller's own descriptors, its exit code comes
// back, signals reach it, and it does not outlive its caller.
func TestExec(t *testing.T) {
	c := serve(t, fakeMesh{}, nil)
	run := func(ctx context.Context, name, script string, signals <-chan os.Signal) (string, int, error) {
		in, err := os.CreateTemp(t.TempDir(), "in")
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if _, err := in.WriteAt([]byte("input"), 0); err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		code, err := c.Exec(ctx, Target{Namespace: "default", Name: name}, Command{Args: []string{"sh", "-c", script}}, in, w, w, signals)
		w.Close()
		out, rerr := io.ReadAll(r)
		if rerr != nil {
			t.Fatal(rerr)
		}
		return string(out), code, err
	}
	if out, code, err := run(t.Context(), "web", "cat; echo err >&2; exit 7", nil); out != "inputerr\n" || code != 7 || err != nil {
		t.Errorf("got %q %d %v", out, code, err)
	}
	if _, _, err := run(t.Context(), "other", "true", nil); err == nil || err.Error() != "no such workload" {
		t.Errorf("another workload: %v", err)
	}
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	if out, code, err := run(t.Context(), "web", "trap 'echo term; exit 4' TERM; while :; do sleep 0.01; done", signals); out != "term\n" && code != -1 || err != nil {
		t.Errorf("signal: %q %d %v", out, code, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	// The pipe's end is seen when the command is dead.
	if _, _, err := run(ctx, "web", "exec sleep 30", nil); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("a caller that goes: %v after %v", err, time.Since(start))
	}
}

func TestLogs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	c := serve(t, fakeMesh{log: file}, nil)
	read := func(o LogOptions) string {
		var b strings.Builder
		if err := c.Logs(t.Context(), Target{Name: "web"}, o, &b); err != nil {
			t.Error(err)
		}
		return b.String()
	}
	if got := read(LogOptions{Tail: -1}); got != "" {
		t.Errorf("before anything is written: %q", got)
	}
	long := strings.Repeat("x", 100<<10)
	if err := os.WriteFile(file, []byte("one\n"+long+"\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		tail int
		want string
	}{{-1, "one\n" + long + "\nthree\n"}, {0, ""}, {1, "three\n"}, {2, long + "\nthree\n"}, {9, "one\n" + long + "\nthree\n"}} {
		if got := read(LogOptions{Tail: x.tail}); got != x.want {
			t.Errorf("tail %d: %d bytes, want %d", x.tail, len(got), len(x.want))
		}
	}
	if err := c.Logs(t.Context(), Target{Name: "other"}, LogOptions{}, io.Discard); err == nil {
		t.Error("no error for another workload")
	}
}

// TestFollow: what is appended comes, also after the file was replaced.
func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	c := serve(t, fakeMesh{log: file}, nil)
	if err := os.WriteFile(file, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, w := io.Pipe()
	go func() { w.CloseWithError(c.Logs(ctx, Target{Name: "web"}, LogOptions{Tail: 0, Follow: true}, w)) }()
	go func() {
		time.Sleep(250 * time.Millisecond)
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		f.WriteString("new\n")
		f.Close()
		time.Sleep(250 * time.Millisecond)
		if err := os.Rename(file, file+".1"); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(file, []byte("rotated\n"), 0o600); err != nil {
			t.Error(err)
		}
	}()
	want := "new\nrotated\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Errorf("got %q %v", got, err)
	}
}

// TestAdmin: requests reach the proxy's own pages, with query and method.
func TestAdmin(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Method+" "+r.URL.String()+" "+r.Host)
	})}
	go srv.Serve(l)
	defer srv.Close()
	c := serve(t, fakeMesh{admin: l.Addr().String()}, nil)
	resp, err := c.do(t.Context(), http.MethodPost, "/v1/proxies/default/web/admin/logging?level=debug")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || string(text) != "POST /logging?level=debug localhost" {
		t.Errorf("got %q %v", text, err)
	}
}
