package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/local/sandbox"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// world is a Runtime in memory. Its events are what happened, in order.
type world struct {
	start func(c sandbox.Command, p *fakeProgram) // what a program does; nil: it runs until SIGTERM

	mu     sync.Mutex
	events []string
	n      int
	failed int // how many further Opens fail
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

func (w *world) count(prefix string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

func (w *world) Open(_ context.Context, p *PodSpec) (Place, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed > 0 {
		w.failed--
		return nil, errors.New("no namespace")
	}
	w.n++
	return &fakePlace{world: w, spec: p, addr: netip.AddrFrom4([4]byte{10, 244, 0, byte(w.n)})}, nil
}

func (w *world) ConfigMap(ns, name string) (*corev1.ConfigMap, bool) {
	if ns+"/"+name != "default/settings" {
		return nil, false
	}
	return &corev1.ConfigMap{Data: map[string]string{"color": "blue"}}, true
}

func (w *world) Secret(ns, name string) (*corev1.Secret, bool) {
	if ns+"/"+name != "default/key" {
		return nil, false
	}
	return &corev1.Secret{Data: map[string][]byte{"password": []byte("x")}}, true
}

type fakePlace struct {
	world *world
	spec  *PodSpec
	addr  netip.Addr
}

func (p *fakePlace) Addr() netip.Addr { return p.addr }
func (p *fakePlace) Proxy() Proxy     { return fakeProxy{p} }
func (p *fakePlace) Close() error     { p.world.note("closed %s", p.spec.Name); return nil }
func (p *fakePlace) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nothing listens")
}

func (p *fakePlace) Start(name string, c sandbox.Command) (Program, error) {
	prog := &fakeProgram{place: p, done: make(chan struct{})}
	p.world.note("started %s %s", p.spec.Name, strings.Join(c.Args, " "))
	if p.world.start != nil {
		p.world.start(c, prog)
	}
	return prog, nil
}

type fakeProxy struct{ p *fakePlace }

func (f fakeProxy) Wait(context.Context) error { f.p.world.note("proxy %s", f.p.spec.Name); return nil }
func (f fakeProxy) Ready() bool                { return true }
func (f fakeProxy) Drain(context.Context)      { f.p.world.note("drained %s", f.p.spec.Name) }

type fakeProgram struct {
	place    *fakePlace
	once     sync.Once
	done     chan struct{}
	exit     sandbox.Exit
	stubborn bool // ignores SIGTERM
	sick     func() bool
}

func (p *fakeProgram) end(e sandbox.Exit) { p.once.Do(func() { p.exit = e; close(p.done) }) }

func (p *fakeProgram) Done() <-chan struct{}         { return p.done }
func (p *fakeProgram) Result() (sandbox.Exit, error) { <-p.done; return p.exit, nil }
func (p *fakeProgram) Kill()                         { p.end(sandbox.Exit{Code: 137, Signal: 9}) }
func (p *fakeProgram) Signal(s syscall.Signal) error {
	p.place.world.note("signal %d %s", s, p.place.spec.Name)
	if !p.stubborn {
		p.end(sandbox.Exit{})
	}
	return nil
}

func (p *fakeProgram) Exec(context.Context, []string) (sandbox.Exit, []byte, error) {
	if p.sick != nil && p.sick() {
		return sandbox.Exit{Code: 1}, []byte("sick"), nil
	}
	return sandbox.Exit{}, nil, nil
}

func deploy(name string, n int32, change func(*appsv1.Deployment)) Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{Replicas: &n, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x", Command: []string{"/bin/app"}}}},
		}},
	}
	if change != nil {
		change(d)
	}
	return Deployment{Origin: verdict.Origin{Ref: verdict.Ref{Kind: "Deployment", Namespace: "default", Name: name}}, Object: d}
}

// supervised runs f beside a Supervisor in virtual time, then ends it.
func supervised(t *testing.T, w *world, f func(s *Supervisor)) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Runtime: w, Sources: w})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		f(s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// names lists the pods as "web-0 Running 2/2".
func names(s *Supervisor) string {
	var list []string
	for _, p := range s.Pods() {
		list = append(list, fmt.Sprintf("%s %s %d/%d", p.Name, p.Phase, p.Ready, p.Parts))
	}
	return strings.Join(list, ", ")
}

func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestLife: a pod's parts come in order and go in order, and a mesh that ends
// takes all away.
func TestLife(t *testing.T) {
	w := &world{failed: 2}
	supervised(t, w, func(s *Supervisor) {
		s.Set([]Deployment{deploy("web", 2, nil)})
		wait(10 * time.Second)
		if got := names(s); got != "web-0 Running 2/2, web-1 Running 2/2" {
			t.Errorf("pods: %s", got)
		}
		if list := s.Workloads(); len(list) != 2 || !list[0].Ready || list[0].Owner != "web" || !list[0].Proxied || list[0].ServiceAccount != "default" {
			t.Errorf("workloads: %+v", list)
		}
		if left := s.Unsettled(); len(left) != 0 {
			t.Errorf("unsettled: %v", left)
		}
		s.Set([]Deployment{deploy("web", 1, nil)})
		wait(100 * time.Millisecond)
		if list := s.Workloads(); len(list) != 2 || list[1].Ready {
			t.Errorf("a pod that goes must not be ready: %+v", list)
		}
		wait(5 * time.Second)
		if got := names(s); got != "web-0 Running 2/2" {
			t.Errorf("scaled down: %s", got)
		}
	})
	all := strings.Join(w.events, "\n")
	at := func(e string) int { return strings.Index(all, e) }
	for _, order := range [][]string{{"proxy web-1", "started web-1"}, {"drained web-1", "signal 15 web-1", "closed web-1"}, {"signal 15 web-0", "closed web-0"}} {
		for i := 1; i < len(order); i++ {
			if at(order[i-1]) < 0 || at(order[i]) < at(order[i-1]) {
				t.Errorf("%q is not before %q:\n%s", order[i-1], order[i], all)
			}
		}
	}
	if w.count("drained web-0") != 0 {
		t.Error("a mesh that ends waits for calls under way")
	}
}

// TestBackoff: 1, 2, 4 … seconds, and from the start again after a good run.
func TestBackoff(t *testing.T) {
	var w *world
	var sound atomic.Bool
	w = &world{start: func(_ sandbox.Command, p *fakeProgram) {
		if !sound.Load() {
			p.end(sandbox.Exit{Code: 3})
		}
	}}
	supervised(t, w, func(s *Supervisor) {
		s.Set([]Deployment{deploy("web", 1, nil)})
		for _, c := range []struct {
			after  time.Duration
			starts int
		}{{900 * time.Millisecond, 1}, {200 * time.Millisecond, 2}, {1800 * time.Millisecond, 2}, {200 * time.Millisecond, 3}, {4 * time.Second, 4}} {
			wait(c.after)
			if got := w.count("started"); got != c.starts {
				t.Errorf("%d starts, want %d", got, c.starts)
			}
		}
		p := s.Pods()[0]
		if p.Phase != "CrashLoopBackOff" || p.Message != "exit code 3" || p.Restarts != 3 || p.Ready != 1 {
			t.Errorf("status: %+v", p)
		}
		if list := s.Workloads(); list[0].Ready {
			t.Error("a crashing pod is ready")
		}
		sound.Store(true)
		wait(10 * time.Minute)
		if got := names(s); got != "web-0 Running 2/2" {
			t.Errorf("recovered: %s", got)
		}
	})
}

func envVar(v string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "V", Value: v}}
	}
}

// TestRollingUpdate: the new pod is ready before the old one goes, and one that
// never becomes ready leaves the old one alone.
func TestRollingUpdate(t *testing.T) {
	w := &world{}
	supervised(t, w, func(s *Supervisor) {
		s.Set([]Deployment{deploy("web", 1, envVar("1"))})
		wait(time.Second)
		s.Set([]Deployment{deploy("web", 1, envVar("2"))})
		ready := 0
		for range 100 {
			wait(20 * time.Millisecond)
			ready = 0
			for _, p := range s.Workloads() {
				if p.Ready {
					ready++
				}
			}
			if ready == 0 {
				t.Fatalf("nobody is ready during the update: %s", names(s))
			}
		}
		if got := names(s); got != "web-1 Running 2/2" {
			t.Errorf("updated: %s", got)
		}
		broken := deploy("web", 1, func(d *appsv1.Deployment) {
			c := &d.Spec.Template.Spec.Containers[0]
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}}
		})
		s.Set([]Deployment{broken})
		wait(time.Minute)
		if got := names(s); got != "web-0 Running 1/2, web-1 Running 2/2" {
			t.Errorf("an update that is never ready: %s", got)
		}
		if left := s.Unsettled(); len(left) != 1 || left[0] != "default/web: 0 of 1 ready" {
			t.Errorf("unsettled: %v", left)
		}
	})
}

// TestLiveness: a sick program is ended and started again; a stubborn one is
// killed after its grace period.
func TestLiveness(t *testing.T) {
	var sick atomic.Bool
	w := &world{start: func(_ sandbox.Command, p *fakeProgram) { p.sick, p.stubborn = sick.Load, true }}
	supervised(t, w, func(s *Supervisor) {
		s.Set([]Deployment{deploy("web", 1, func(d *appsv1.Deployment) {
			grace := int64(7)
			d.Spec.Template.Spec.TerminationGracePeriodSeconds = &grace
			d.Spec.Template.Spec.Containers[0].LivenessProbe = &corev1.Probe{
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"check"}}}, PeriodSeconds: 1, FailureThreshold: 2,
			}
		})})
		wait(30 * time.Second)
		if n := w.count("started"); n != 1 {
			t.Fatalf("%d starts while it was well", n)
		}
		sick.Store(true)
		wait(2500 * time.Millisecond)
		if w.count("signal 15") != 1 {
			t.Fatalf("no SIGTERM after two failures: %v", w.events)
		}
		sick.Store(false)
		wait(6 * time.Second)
		if n := w.count("started"); n != 1 {
			t.Errorf("killed before its grace period of 7 s")
		}
		wait(3 * time.Second)
		if n := w.count("started"); n != 2 {
			t.Errorf("%d starts, want 2", n)
		}
	})
}

// TestEarlyProbes: a program that is ready after a second does not wait for the
// probe's period of ten.
func TestEarlyProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at time.Duration
		failures := 0
		check := func(context.Context) error {
			if time.Since(began) < time.Second {
				return errors.New("not yet")
			}
			return nil
		}
		watch(t.Context(), &corev1.Probe{}, check, func(ok bool, _ error) bool {
			if !ok {
				failures++
			}
			at = time.Since(began)
			return !ok
		})
		if at < time.Second || at > 2*time.Second || failures != 0 {
			t.Errorf("passed after %v with %d failures", at, failures)
		}
	})
}

func TestPlan(t *testing.T) {
	r := func(s string) (list []replica) { // "cr" current and ready, "o" old, "t" terminating
		for i, f := range strings.Fields(s) {
			list = append(list, replica{index: i, current: strings.Contains(f, "c"), ready: strings.Contains(f, "r"), terminating: strings.Contains(f, "t")})
		}
		return list
	}
	zero, two := intstr.FromInt32(0), intstr.FromInt32(2)
	rolling := func(surge, unavailable *intstr.IntOrString) appsv1.DeploymentStrategy {
		return appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: surge, MaxUnavailable: unavailable}}
	}
	recreate := appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	for _, c := range []struct {
		what     string
		want     int32
		strategy appsv1.DeploymentStrategy
		pods     string
		create   int
		stop     []int
	}{
		{"from nothing", 3, appsv1.DeploymentStrategy{}, "", 3, nil},
		{"as wanted", 2, appsv1.DeploymentStrategy{}, "cr cr", 0, nil},
		{"down: the unready first, then the youngest", 1, appsv1.DeploymentStrategy{}, "cr c cr", 0, []int{1, 2}},
		{"the terminating do not count", 1, appsv1.DeploymentStrategy{}, "ct", 1, nil},
		{"update: one more", 1, appsv1.DeploymentStrategy{}, "or", 1, nil},
		{"update: the new is not ready", 1, appsv1.DeploymentStrategy{}, "or c", 0, nil},
		{"update: the new is ready", 1, appsv1.DeploymentStrategy{}, "or cr", 0, []int{0}},
		{"update: an old that is not ready goes", 1, appsv1.DeploymentStrategy{}, "o", 1, []int{0}},
		{"update of four: a quarter at a time", 4, appsv1.DeploymentStrategy{}, "or or or or", 1, []int{3}},
		{"update without surge", 2, rolling(&zero, &two), "or or", 0, []int{1, 0}},
		{"update with nothing allowed", 1, rolling(&zero, &zero), "or", 1, nil},
		{"recreate: first all go", 2, recreate, "or or", 0, []int{0, 1}},
		{"recreate: they are going", 1, recreate, "ot", 0, nil},
		{"recreate: gone", 1, recreate, "", 1, nil},
		{"to zero", 0, appsv1.DeploymentStrategy{}, "cr or", 0, []int{0, 1}},
	} {
		create, stop := plan(&appsv1.DeploymentSpec{Replicas: &c.want, Strategy: c.strategy}, r(c.pods))
		if create != c.create || !slices.Equal(stop, c.stop) {
			t.Errorf("%s: create %d stop %v, want %d %v", c.what, create, stop, c.create, c.stop)
		}
	}
}

func TestImages(t *testing.T) {
	for _, c := range []struct {
		image         string
		command, args []string
		port          int32
		annotation    string
		want          string
	}{
		{"docker.io/istio/examples-bookinfo-reviews-v2:1.20.3", nil, nil, 9080, "", "/proc/self/exe: lateen sample reviews-v2 9080"},
		{"registry.example:5000/mirror/istio/examples-bookinfo-details-v1@sha256:00", nil, nil, 9080, "", "/proc/self/exe: lateen sample details 9080"},
		{"docker.io/istio/tcp-echo-server:1.3", nil, []string{"9000,9001", "hello"}, 9000, "", "/proc/self/exe: lateen sample tcp-echo 9000,9001 hello"},
		{"docker.io/kennethreitz/httpbin", []string{"gunicorn"}, nil, 80, "", "/proc/self/exe: lateen sample httpbin 80"},
		{"curlimages/curl", []string{"/bin/sleep", "infinity"}, nil, 0, "", "/bin/sleep: /bin/sleep infinity"},
		{"curlimages/curl", nil, nil, 0, "", "/proc/self/exe: lateen sample curl"},
		{"docker.io/istio/examples-helloworld-v2:1.0", nil, nil, 5000, "", "/proc/self/exe: lateen sample helloworld-v2 5000"},
		{"lateen-mesh/grpc-echo-v2", nil, nil, 7070, "", "/proc/self/exe: lateen sample grpc-echo-v2 7070"},
		{"mine", []string{"serve", "$(PORT)"}, []string{"$$x", "$(NO)"}, 0, "", "serve: serve 80 $x $(NO)"},
		{"nginx", nil, nil, 0, "nginx -p $(PORT)", "nginx: nginx -p 80"},
		{"nginx", nil, nil, 0, "", "error: the image nginx is not pulled"},
	} {
		k := &corev1.Container{Image: c.image, Command: c.command, Args: c.args}
		if c.port != 0 {
			k.Ports = []corev1.ContainerPort{{ContainerPort: c.port}}
		}
		e := &environ{values: map[string]string{"PORT": "80"}}
		path, args, err := program(k, map[string]string{CommandAnnotation: c.annotation}, e.expand)
		got := path + ": " + strings.Join(args, " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: got %q, want %q", c.image, got, c.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	yes := true
	c := &corev1.Container{
		EnvFrom: []corev1.EnvFromSource{{Prefix: "S_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("settings")}}},
		Env: []corev1.EnvVar{
			{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)/$(S_color)"},
			{Name: "POD", ValueFrom: field("metadata.name")}, {Name: "IP", ValueFrom: field("status.podIP")},
			{Name: "VERSION", ValueFrom: field("metadata.labels['version']")}, {Name: "SA", ValueFrom: field("spec.serviceAccountName")},
			{Name: "PW", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("key"), Key: "password"}}},
			{Name: "NONE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("gone"), Key: "k", Optional: &yes}}},
		},
	}
	pod := &PodSpec{Name: "web-0", Namespace: "default", ServiceAccount: "me", Labels: map[string]string{"version": "v1"}}
	e, err := environment(c, pod, netip.MustParseAddr("10.244.0.5"), &world{})
	if err != nil {
		t.Fatal(err)
	}
	want := "PATH=" + defaultPath + " HOSTNAME=web-0 HOME=/ S_color=blue A=1 B=1/blue POD=web-0 IP=10.244.0.5 VERSION=v1 SA=me PW=x"
	if got := strings.Join(e.list(), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for what, v := range map[string]*corev1.EnvVarSource{
		"does not exist": field("metadata.color"),
		"has no key":     {ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("settings"), Key: "size"}},
		"not supported":  {ResourceFieldRef: &corev1.ResourceFieldSelector{}},
	} {
		_, err := environment(&corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: v}}}, pod, netip.Addr{}, &world{})
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "X") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestVerdicts: what cannot run or does not act is told.
func TestVerdicts(t *testing.T) {
	d := deploy("web", 1, func(d *appsv1.Deployment) {
		pod := &d.Spec.Template.Spec
		pod.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, {Name: "data", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}
		c := &pod.Containers[0]
		c.VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}, {Name: "data", MountPath: "/data"}}
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "tmp", MountPath: "/opt/none"})
		c.SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64)}
	})
	tmpl, statuses, err := readTemplate(d.Object, d.Origin, Machine{OneUser: true, Exists: func(p string) bool { return p != "/opt/none" }})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tmpl.spec.Scratch, []string{"/tmp"}) {
		t.Errorf("scratch: %v", tmpl.spec.Scratch)
	}
	var got []string
	for _, s := range statuses {
		got = append(got, s.Path+" "+string(s.Code))
	}
	want := "spec.template.spec.volumes[1] NotActedOn, spec.template.spec.containers[0].volumeMounts[2] NotActedOn, " +
		"spec.template.spec.containers[0].securityContext.runAsUser Differs"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %v", got)
	}
	w := &world{}
	supervised(t, w, func(s *Supervisor) {
		s.Set([]Deployment{deploy("web", 1, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Command = nil })})
		wait(time.Second)
		if got := names(s); got != "web Unsupported 0/1" {
			t.Errorf("pods: %s", got)
		}
		if list := s.Statuses(); len(list) != 1 || list[0].Code != verdict.Unsupported {
			t.Errorf("statuses: %v", list)
		}
		if _, err := s.Find("default", "nobody"); !errors.Is(err, ErrNotFound) {
			t.Errorf("find: %v", err)
		}
	})
}
