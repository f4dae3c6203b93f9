package local

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

func TestFindDirs(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(key string) string {
			for i := 0; i+1 < len(pairs); i += 2 {
				if pairs[i] == key {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		what string
		env  func(string) string
		want Dirs
		fail string
	}{
		{"XDG", env("XDG_STATE_HOME", "/s", "XDG_RUNTIME_DIR", "/r"), Dirs{"/s/lateen/m", "/r/lateen/m"}, ""},
		{"defaults", env("HOME", "/h"), Dirs{"/h/.local/state/lateen/m", "/tmp/lateen-" + uid() + "/m"}, ""},
		{"handed on", env("HOME", "/h", stateVariable, "/a", runtimeVariable, "/b"), Dirs{"/a", "/b"}, ""},
		{"no home", env(), Dirs{}, "neither XDG_STATE_HOME nor HOME"},
		{"relative", env("XDG_STATE_HOME", "s"), Dirs{}, "absolute"},
	} {
		got, err := FindDirs("m", c.env)
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%s: %v", c.what, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: got %v, %v", c.what, got, err)
		}
	}
}

func uid() string {
	s := ""
	for n := os.Getuid(); ; n /= 10 {
		s = string(rune('0'+n%10)) + s
		if n < 10 {
			return s
		}
	}
}

// TestLock: a name runs once, and stale sockets of a killed mesh go.
func TestLock(t *testing.T) {
	base := t.TempDir()
	d := Dirs{State: filepath.Join(base, "state"), Runtime: filepath.Join(base, "run", "m")}
	if d.Running() {
		t.Error("runs before it exists")
	}
	if err := d.make(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(d.Runtime); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the runtime directory: %v %v", info, err)
	}
	lock, err := d.lock()
	if err != nil {
		t.Fatal(err)
	}
	if !d.Running() {
		t.Error("a locked mesh does not run")
	}
	if _, err := d.lock(); !errors.Is(err, ErrRunning) {
		t.Errorf("a second lock: %v", err)
	}
	if err := os.WriteFile(filepath.Join(d.Runtime, "xds.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.clean(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(d.Runtime); err != nil || len(entries) != 1 || entries[0].Name() != lockName {
		t.Errorf("left: %v %v", entries, err)
	}
	// A killed process keeps its lock for a moment after it can be seen no more.
	freed := time.AfterFunc(lockPatience/4, func() { lock.Close() })
	defer freed.Stop()
	second, err := d.lock()
	if err != nil {
		t.Fatalf("a lock that comes free: %v", err)
	}
	second.Close()
	if d.Running() {
		t.Error("runs after its end")
	}
	long := Dirs{State: base, Runtime: "/" + strings.Repeat("x", 100)}
	if err := long.make(); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
}

// TestOutputRotates: a log has a bounded size, and the last one is kept.
func TestOutputRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	o, err := openOutput(path)
	if err != nil {
		t.Fatal(err)
	}
	w, done, err := o.pipe()
	if err != nil {
		t.Fatal(err)
	}
	block := []byte(strings.Repeat("x", 1<<20))
	for range 2*maxLog/len(block) + 2 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write([]byte("last\n")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	<-done
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(now), "last\n") || len(now) > maxLog {
		t.Errorf("%d bytes, %v", len(now), err)
	}
	if old, err := os.Stat(path + ".1"); err != nil || old.Size() > maxLog {
		t.Errorf("the old log: %v %v", old, err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 2 {
		t.Errorf("files: %v %v", files, err)
	}
}

// TestOldOutput: a new pod's output starts anew, and its neighbours keep theirs.
func TestOldOutput(t *testing.T) {
	r := &runtime{o: &Options{Dirs: Dirs{State: t.TempDir()}}}
	if err := os.Mkdir(r.o.Dirs.logs(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []string{"web-0", "web-00"} {
		if err := os.WriteFile(r.logFile("default", pod, "c"), []byte(pod), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.setAside(&supervise.PodSpec{Namespace: "default", Name: "web-0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.logFile("default", "web-0", "c")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old output is in the way: %v", err)
	}
	for _, path := range []string{r.logFile("default", "web-0", "c") + ".1", r.logFile("default", "web-00", "c")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestInterception(t *testing.T) {
	o, err := interception(&supervise.PodSpec{Injected: true, Annotations: map[string]string{
		excludeInboundPorts: "22, 23", excludeOutboundPorts: "25", includeOutboundCIDRs: "*", excludeOutboundCIDRs: "192.0.2.1/24", "other": "x",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.ExcludeInbound, []uint16{22, 23}) || !slices.Equal(o.ExcludeOutbound, []uint16{25}) || o.IncludeCIDRs != nil ||
		!slices.Equal(o.ExcludeCIDRs, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}) {
		t.Errorf("got %+v", o)
	}
	for name, value := range map[string]string{
		excludeInboundPorts: "http", excludeOutboundPorts: "70000", includeInboundPorts: "0", excludeOutboundCIDRs: "10.0.0.1", trafficPrefix + "kubevirtInterfaces": "x",
	} {
		if _, err := interception(&supervise.PodSpec{Injected: true, Annotations: map[string]string{name: value}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o, err := interception(&supervise.PodSpec{Gateway: true, Injected: true}); o != nil || err != nil {
		t.Errorf("a gateway: %v %v", o, err)
	}
	if o, err := interception(&supervise.PodSpec{}); err != nil || !o.DNSOnly {
		t.Errorf("a pod without a proxy: %v %v", o, err)
	}
}

func TestMapsUser(t *testing.T) {
	for m, want := range map[string]bool{
		"         0          0 4294967295\n":                  true,
		"         0       1000          1\n":                  false,
		"         0     100000      65536\n":                  true,
		"         0       1000          1\n 1 100000 65536\n": true,
		"": false,
	} {
		if got := mapsUser(m, workloadUser); got != want {
			t.Errorf("%q: %v", m, got)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		fail string
	}{
		{Options{}, ""},
		{Options{Name: "a-b1"}, ""},
		{Options{Name: "A"}, "cannot be the name"},
		{Options{Name: strings.Repeat("x", 41)}, "cannot be the name"},
		{Options{Proxies: "cloud"}, "no place to run"},
		{Options{Sidecar: Envoy}, "--envoy PATH"},
		{Options{Sidecar: "nginx"}, "no kind of sidecar"},
	} {
		err := c.o.complete()
		if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

func TestNode(t *testing.T) {
	p := &supervise.PodSpec{Namespace: "shop", Name: "web-0", Owner: "web", ServiceAccount: "me", Labels: map[string]string{"app": "web"}}
	n, err := newNode(p, netip.MustParseAddr("10.244.0.9"), Native)
	if err != nil {
		t.Fatal(err)
	}
	f := n.Metadata.Fields
	if n.Id != "sidecar~10.244.0.9~web-0.shop~shop.svc.cluster.local" || f["LATEEN_DATA_PLANE"].GetStringValue() != "native" ||
		f["LABELS"].GetStructValue().Fields["app"].GetStringValue() != "web" || f["INTERCEPTION_MODE"].GetStringValue() != "REDIRECT" {
		t.Errorf("got %v", n)
	}
	p.Gateway = true
	if n, err = newNode(p, netip.MustParseAddr("10.244.0.9"), Envoy); err != nil || !strings.HasPrefix(n.Id, "router~") || n.UserAgentName != "envoy" {
		t.Errorf("got %v %v", n, err)
	}
}
