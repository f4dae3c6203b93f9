package bed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Load says what a load generator sends.
type Load struct {
	URL     string
	Host    string
	Headers []string // "Name: value"
	Rate    float64  // requests per second; 50 if 0
	Workers int      // requests under way at most; 16 if 0
	Fresh   bool     // a connection per request
	Match   string   // regular expression whose first group is counted
	Status  int      // that counts as success; 200 if 0
}

func (l Load) args() []string {
	args := []string{"-url", l.URL, "-host", l.Host, "-match", l.Match, "-fresh=" + strconv.FormatBool(l.Fresh)}
	for _, h := range l.Headers {
		args = append(args, "-header", h)
	}
	if l.Rate > 0 {
		args = append(args, "-rate", fmt.Sprint(l.Rate))
	}
	if l.Workers > 0 {
		args = append(args, "-workers", strconv.Itoa(l.Workers))
	}
	if l.Status > 0 {
		args = append(args, "-status", strconv.Itoa(l.Status))
	}
	return args
}

// Report is what a load generator counted.
type Report struct {
	Sent    int            `json:"sent"`
	Failed  int            `json:"failed"`
	Missed  int            `json:"missed"`
	Matches map[string]int `json:"matches"`
	Reasons map[string]int `json:"reasons"`
	First   []struct {
		At     time.Time `json:"at"`
		TookMs float64   `json:"tookMs"`
		Reason string    `json:"reason"`
	} `json:"first"`
	Median  float64 `json:"medianMs"`
	P99     float64 `json:"p99Ms"`
	Max     float64 `json:"maxMs"`
	Seconds float64 `json:"seconds"`
}

// String is one line, and one for each kind of failure.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests in %.1f s, %d failed, %d missed; median %.1f ms, p99 %.1f ms, max %.1f ms", r.Sent, r.Seconds, r.Failed, r.Missed, r.Median, r.P99, r.Max)
	for reason, n := range r.Reasons {
		fmt.Fprintf(&b, "\n  %d x %s", n, reason)
	}
	for _, f := range r.First {
		fmt.Fprintf(&b, "\n  at %s after %.1f ms: %s", f.At.Format("15:04:05.000"), f.TookMs, f.Reason)
	}
	return b.String()
}

// NoFailure fails the test unless at least min requests were sent and all
// succeeded.
func (r Report) NoFailure(t testing.TB, min int) {
	t.Helper()
	Note(t, "%s", r)
	if r.Failed > 0 {
		t.Errorf("%d of %d requests failed", r.Failed, r.Sent)
	}
	if r.Sent < min {
		t.Errorf("only %d requests were sent, which proves little: want at least %d", r.Sent, min)
	}
}

// Running is a load generator at work in the node's network.
type Running struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	errs bytes.Buffer
	done chan error
}

// StartLoad starts a load generator in the network of the first node, as a
// client from outside the mesh. It ends with the test at the latest.
func (b *Bed) StartLoad(t testing.TB, l Load) *Running {
	t.Helper()
	r := &Running{done: make(chan error, 1)}
	// It ends by itself some time after a test process that was killed.
	argv := append([]string{filepath.Join(filepath.Dir(b.Images.Lateen), "load"), "-duration", "15m"}, l.args()...)
	r.cmd = b.Cluster.Command(context.Background(), argv...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errs
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() { r.cmd.Process.Kill() })
	return r
}

// Stop ends it, after the requests under way, and gives its report.
func (r *Running) Stop(t testing.TB) Report {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("the load generator ended early: %v: %s", err, r.errs.String())
	}
	select {
	case <-r.done: // its status tells of failed requests, as the report does
	case <-time.After(30 * time.Second):
		t.Fatal("the load generator does not end")
	}
	return parseReport(t, r.out.Bytes())
}

func parseReport(t testing.TB, text []byte) Report {
	t.Helper()
	var report Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("the load generator said %q: %v", text, err)
	}
	return report
}

// reportPort is where a load generator in a pod is asked for its report; the
// mesh is told to leave it alone.
const reportPort = 8099

// PodLoad is a load generator in a pod of its own.
type PodLoad struct {
	b   *Bed
	url string
}

// StartPodLoad runs a load generator as a pod with a sidecar, where the namespace
// is injected, and waits until it sends. annotations and labels are of the pod.
func (b *Bed) StartPodLoad(t testing.TB, namespace, name string, l Load, annotations map[string]string) *PodLoad {
	t.Helper()
	all := map[string]string{"traffic.sidecar.istio.io/excludeInboundPorts": strconv.Itoa(reportPort)}
	for k, v := range annotations {
		all[k] = v
	}
	args := append(l.args(), "-listen", fmt.Sprintf(":%d", reportPort))
	pod := map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": name, "namespace": namespace, "labels": map[string]string{"app": name}, "annotations": all},
		"spec": map[string]any{"terminationGracePeriodSeconds": 1, "containers": []any{
			map[string]any{"name": "load", "image": "lateen/load:dev", "imagePullPolicy": "IfNotPresent", "args": args},
		}},
	}
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	b.Apply(t, namespace, string(text))
	b.Kubectl(t, "wait", "-n", namespace, "pod/"+name, "--for=condition=Ready", "--timeout=90s")
	p := &PodLoad{b: b, url: fmt.Sprintf("http://%s:%d/report", b.Pod(t, namespace, "app="+name).IP, reportPort)}
	Eventually(t, 30*time.Second, "the first answer in "+name, func() error {
		if r := p.Report(t); r.Sent == r.Failed {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	return p
}

// Report gives the counts so far. It needs no API server.
func (p *PodLoad) Report(t testing.TB) Report {
	t.Helper()
	resp, err := p.b.Get(p.url)
	if err != nil {
		t.Fatalf("asking the load generator: %v", err)
	}
	return parseReport(t, []byte(resp.Body))
}

// Since is what happened after an earlier report. Times are those of the whole run.
func (r Report) Since(earlier Report) Report {
	d := r
	d.Sent, d.Failed, d.Missed, d.Seconds = r.Sent-earlier.Sent, r.Failed-earlier.Failed, r.Missed-earlier.Missed, r.Seconds-earlier.Seconds
	if len(d.First) >= len(earlier.First) {
		d.First = d.First[len(earlier.First):]
	}
	minus := func(now, then map[string]int) map[string]int {
		m := map[string]int{}
		for k, n := range now {
			if n -= then[k]; n != 0 {
				m[k] = n
			}
		}
		return m
	}
	d.Reasons, d.Matches = minus(r.Reasons, earlier.Reasons), minus(r.Matches, earlier.Matches)
	return d
}
