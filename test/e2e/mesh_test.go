package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// mesh is a running mesh of one test.
type mesh struct {
	t    *testing.T
	name string
	home string // its user's home, state and runtime directories
	user bool   // runs as an ordinary user
	// envoy is true where a stock Envoy is every workload's sidecar.
	envoy bool
	// within is put before every command line, to run it in another namespace.
	within []string
	Info   info
	Up     time.Duration // from the command's start until it said that it is ready
}

// info is what `lateen up --detach -o json` prints.
type info struct {
	Name    string `json:"name"`
	Ingress struct {
		HTTP  string `json:"http"`
		HTTPS string `json:"https"`
	} `json:"ingress"`
	Console string `json:"console"`
	XDS     string `json:"xds"`
}

func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("LATEEN_BINARY")
	if path == "" {
		t.Skip("LATEEN_BINARY is not set: run `make e2e`")
	}
	return path
}

// envoyPath gives the real Envoy, or skips.
func envoyPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv("LATEEN_TEST_ENVOY")
	if _, err := os.Stat(path); err != nil {
		t.Skip("no Envoy at LATEEN_TEST_ENVOY: scripts/setup.sh installs it")
	}
	return path
}

// as are the two kinds of users that every walk is made for.
var as = []struct {
	name string
	user bool
}{{"root", false}, {"user", true}}

// eachUser runs a test as root and as an ordinary user, or, where the test
// itself runs as an ordinary user, as that one.
func eachUser(t *testing.T, f func(t *testing.T, user bool)) {
	for _, a := range as {
		t.Run("as-"+a.name, func(t *testing.T) {
			if !a.user && os.Getuid() != 0 {
				t.Skip("the test does not run as root")
			}
			f(t, a.user)
		})
	}
}

// newMesh prepares a mesh's directories without starting it.
func newMesh(t *testing.T, user bool) *mesh {
	t.Helper()
	binary(t)
	home, err := os.MkdirTemp("", "lt")
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{t: t, name: strings.ToLower(filepath.Base(home)), home: home, user: user && os.Getuid() == 0}
	if m.user {
		if err := os.Chown(home, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		m.down()
		if t.Failed() {
			m.dump()
		}
		os.RemoveAll(home)
	})
	return m
}

const nobody = 65534

// startMesh runs `lateen up --detach` with the arguments and waits for it.
func startMesh(t *testing.T, user bool, args ...string) *mesh {
	t.Helper()
	m := newMesh(t, user)
	m.up(args...)
	return m
}

func (m *mesh) up(args ...string) {
	m.t.Helper()
	start := time.Now()
	m.envoy = slices.Contains(args, "envoy")
	out, errs, err := m.try(append([]string{"up", "--ports", "auto", "--detach", "-o", "json"}, args...)...)
	m.Up = time.Since(start)
	if err != nil {
		m.t.Fatalf("lateen up %v: %v\n%s%s", args, err, out, errs)
	}
	if err := json.Unmarshal([]byte(out), &m.Info); err != nil {
		m.t.Fatalf("lateen up printed %q: %v", out, err)
	}
}

// command makes a command line of the binary, as the mesh's user.
func (m *mesh) command(args ...string) *exec.Cmd {
	path := binary(m.t)
	line := append([]string{path}, args...)
	if m.user {
		line = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"}, line...)
	}
	line = append(slices.Clone(m.within), line...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = m.home
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + m.home, "LATEEN_NAME=" + m.name, "NO_COLOR=1",
		"XDG_STATE_HOME=" + m.home + "/state", "XDG_RUNTIME_DIR=" + m.home + "/run", "XDG_CACHE_HOME=" + m.home + "/cache",
	}
	return cmd
}

// try runs a command and returns its two outputs.
func (m *mesh) try(args ...string) (stdout, stderr string, err error) {
	return m.tryIn("", args...)
}

func (m *mesh) tryIn(stdin string, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := m.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// run runs a command that must succeed and returns its output.
func (m *mesh) run(args ...string) string {
	m.t.Helper()
	out, errs, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("lateen %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

// apply applies manifests and waits until every proxy has them in force.
func (m *mesh) apply(yaml string) {
	m.t.Helper()
	out, errs, err := m.tryIn(yaml, "apply", "--wait", "-f", "-")
	if err != nil {
		m.t.Fatalf("lateen apply: %v\n%s%s\n%s", err, out, errs, yaml)
	}
}

// sample applies one of the shipped manifests.
func (m *mesh) sample(name string) {
	m.t.Helper()
	text, err := os.ReadFile("../../samples/yaml/" + name)
	if err != nil {
		m.t.Fatal(err)
	}
	m.apply(string(text))
}

// down stops the mesh; it must be gone afterwards.
func (m *mesh) down() {
	if _, err := os.Stat(m.home); err != nil {
		return
	}
	if out, errs, err := m.try("down"); err != nil && !strings.Contains(errs, "no mesh named") {
		m.t.Errorf("lateen down: %v\n%s%s", err, out, errs)
	}
}

// dump prints what helps to understand a failure: every log of the mesh.
func (m *mesh) dump() {
	filepath.WalkDir(m.home, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			text, _ := os.ReadFile(path)
			m.t.Logf("%s:\n%s", strings.TrimPrefix(path, m.home), tail(text, 6000))
		}
		return nil
	})
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// get fetches a path through the ingress gateway.
func (m *mesh) get(path string, header ...string) (int, string) {
	m.t.Helper()
	code, text, err := m.tryGet(path, header...)
	if err != nil {
		m.t.Fatal(err)
	}
	return code, text
}

func (m *mesh) tryGet(path string, header ...string) (int, string, error) {
	req, err := http.NewRequest("GET", strings.TrimSuffix(m.Info.Ingress.HTTP, "/")+path, nil)
	if err != nil {
		return 0, "", err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

var client = &http.Client{
	Timeout:       30 * time.Second,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// exec runs a command inside a workload.
func (m *mesh) exec(workload string, cmd ...string) (string, string, error) {
	return m.try(append([]string{"exec", workload, "--"}, cmd...)...)
}

// eventually retries until f returns nil.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", within, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
