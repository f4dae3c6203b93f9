package cli

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// bugReportFlags are the flags of bug-report.
type bugReportFlags struct {
	home    homeFlags
	file    string
	include []string
	limit   int
	timeout time.Duration
}

func newBugReportCommand(env *Env) *cobra.Command {
	var f bugReportFlags
	cmd := &cobra.Command{
		Use:   "bug-report",
		Short: "Gather what helps to find a mistake into a tar.gz file",
		Long: `Gather versions, the doctor's findings, the mesh's objects and what became of them,
the control plane's pages and logs, and the proxies' configurations and logs, into
one file. Secrets are left out, and what looks like a private key or a token in a
text is blotted out; read the file before you hand it on all the same.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.home.register(env, cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.file, "file", "bug-report.tar.gz", "file to write")
	fl.StringSliceVar(&f.include, "include", nil, "only proxies of these namespaces")
	fl.IntVar(&f.limit, "proxies", 50, "at most so many proxies")
	fl.DurationVar(&f.timeout, "timeout", 30*time.Minute, "how long to gather at most")
	return cmd
}

// report is the file as it is written. What could not be gathered becomes a file
// too, so that it is not taken for absent.
type report struct {
	env      *Env
	tar      *tar.Writer
	redactor *redactor
	err      error // of writing
	missing  int
}

// add writes a file; err says why there is none.
func (r *report) add(name string, text []byte, err error) {
	if err != nil {
		r.missing++
		name, text = name+".error", []byte(err.Error()+"\n")
	}
	if r.err != nil {
		return
	}
	text = r.redactor.redact(text)
	h := &tar.Header{Name: "bug-report/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: time.Now()}
	if r.err = r.tar.WriteHeader(h); r.err == nil {
		_, r.err = r.tar.Write(text)
	}
}

// addJSON writes a value as JSON.
func (r *report) addJSON(name string, v any, err error) {
	var text []byte
	if err == nil {
		text, err = json.MarshalIndent(v, "", "  ")
	}
	r.add(name, text, err)
}

func (f *bugReportFlags) run(ctx context.Context, env *Env) (err error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(file)
	r := &report{env: env, tar: tar.NewWriter(zip), redactor: newRedactor()}
	f.gather(ctx, h, r)
	for _, end := range []func() error{r.tar.Close, zip.Close, file.Close} {
		if eerr := end(); r.err == nil {
			r.err = eerr
		}
	}
	if r.err != nil {
		return fmt.Errorf("writing %s: %w", f.file, r.err)
	}
	fmt.Fprintf(env.Out, "Created a bug report at %s\n", f.file)
	if r.missing > 0 {
		fmt.Fprintf(env.Err, "%s could not be gathered; the .error files in it say why\n", count(r.missing, "part", "parts"))
	}
	return nil
}

// planePages are what is gathered of each replica of the control plane.
var planePages = []string{"version", "metrics", "debug/adsz", "debug/syncz", "debug/connections", "debug/registryz", "debug/endpointz", "debug/push_status", "debug/status", "debug/mesh"}

// proxyPages are what is gathered of each proxy.
var proxyPages = []string{"config_dump?include_eds", "clusters", "listeners", "certs", "server_info", "stats/prometheus", "logging"}

func (f *bugReportFlags) gather(ctx context.Context, h home, r *report) {
	say := func(what string) { fmt.Fprintln(r.env.Err, "gathering "+what) }
	say("the state of the mesh")
	r.addJSON("client-version.json", readBuildInfo(), nil)
	results, err := examine(ctx, h)
	r.addJSON("doctor.json", results, err)
	objects, err := objectsForReport(ctx, h)
	r.addJSON("objects.json", objects, err)
	planes, err := h.Planes(ctx)
	if err != nil {
		r.add("control-plane", nil, err)
	}
	for _, p := range planes {
		for _, page := range planePages {
			text, err := p.api.Page(ctx, "/"+page)
			r.add("control-plane/"+p.name+"/"+pageFile(page), text, err)
		}
	}
	if c, ok := h.(*clusterHome); ok {
		say("the cluster's objects and the control plane's logs")
		f.gatherCluster(ctx, c, r)
	}
	list, err := connectedProxies(ctx, h)
	r.addJSON("proxies.json", list, err)
	gathered := 0
	for _, p := range list {
		_, namespace := splitInstance(p.Name)
		if len(f.include) > 0 && !slices.Contains(f.include, namespace) {
			continue
		}
		if gathered++; gathered > f.limit {
			r.add("proxies/more", nil, fmt.Errorf("there are %d proxies; --proxies gathers more of them", len(list)))
			return
		}
		say("the proxy of " + p.Name)
		for _, page := range proxyPages {
			text, err := h.Admin(ctx, p.Name, "GET", page)
			r.add("proxies/"+p.Name+"/"+pageFile(page), text, err)
		}
		if c, ok := h.(*clusterHome); ok {
			pod, namespace := splitInstance(p.Name)
			c.addLog(ctx, r, "proxies/"+p.Name, namespace, pod, proxyContainer)
		}
	}
}

// pageFile makes a page's address a file's name.
func pageFile(page string) string {
	page, _, _ = strings.Cut(page, "?")
	return strings.ReplaceAll(page, "/", "-") + ".txt"
}

// objectsForReport reads the mesh's objects without Secrets, and what became of
// them.
func objectsForReport(ctx context.Context, h home) (any, error) {
	c, err := h.Config(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.Objects(ctx, configapi.Query{})
	if err != nil {
		return nil, err
	}
	said, err := c.Status(ctx, configapi.Query{})
	if err != nil {
		return nil, err
	}
	var kept []json.RawMessage
	for _, raw := range list.Items {
		var head struct{ Kind string }
		if json.Unmarshal(raw, &head) == nil && head.Kind != api.KindSecret && head.Kind != api.KindConfigMap {
			kept = append(kept, raw)
		}
	}
	return map[string]any{"objects": kept, "status": said}, nil
}

// gatherCluster adds what Kubernetes knows of the mesh.
func (f *bugReportFlags) gatherCluster(ctx context.Context, c *clusterHome, r *report) {
	typed, all := c.client.Typed(), metav1.ListOptions{}
	if version, err := c.client.Version(ctx); err != nil {
		r.add("kubernetes/version.txt", nil, err)
	} else {
		r.add("kubernetes/version.txt", []byte(version+"\n"), nil)
	}
	pods, err := typed.CoreV1().Pods("").List(ctx, all)
	if err == nil {
		for i := range pods.Items {
			hideEnvironment(&pods.Items[i])
		}
	}
	r.addJSON("kubernetes/pods.json", pods, err)
	namespaces, err := typed.CoreV1().Namespaces().List(ctx, all)
	r.addJSON("kubernetes/namespaces.json", namespaces, err)
	services, err := typed.CoreV1().Services("").List(ctx, all)
	r.addJSON("kubernetes/services.json", services, err)
	nodes, err := typed.CoreV1().Nodes().List(ctx, all)
	r.addJSON("kubernetes/nodes.json", nodes, err)
	events, err := typed.CoreV1().Events("").List(ctx, all)
	r.addJSON("kubernetes/events.json", events, err)
	deployments, err := typed.AppsV1().Deployments(c.client.Namespace()).List(ctx, all)
	r.addJSON("kubernetes/deployments.json", deployments, err)
	mutating, err := typed.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, all)
	r.addJSON("kubernetes/mutating-webhooks.json", mutating, err)
	validating, err := typed.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, all)
	r.addJSON("kubernetes/validating-webhooks.json", validating, err)
	for _, name := range []string{"istio", "istio-sidecar-injector", "istio-ca-root-cert"} {
		m, err := typed.CoreV1().ConfigMaps(c.client.Namespace()).Get(ctx, name, metav1.GetOptions{})
		r.addJSON("kubernetes/configmap-"+name+".json", m, err)
	}
	planes, err := c.planePods(ctx)
	if err != nil {
		r.add("control-plane/logs", nil, err)
	}
	for _, p := range planes {
		c.addLog(ctx, r, "control-plane/"+p.Name, p.Namespace, p.Name, "")
	}
}

// hideEnvironment blots out the values of variables that applications are given,
// which often hold passwords; the proxy's own stay.
func hideEnvironment(p *corev1.Pod) {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == proxyContainer || list[i].Name == "istio-init" {
				continue
			}
			for j := range list[i].Env {
				if list[i].Env[j].Value != "" {
					list[i].Env[j].Value = redacted
				}
			}
		}
	}
	delete(p.Annotations, corev1.LastAppliedConfigAnnotation) // it repeats them
}

// logLines is how much of a log is gathered.
const logLines = 5000

// addLog adds a container's log, and that of the container before it if it was
// restarted.
func (c *clusterHome) addLog(ctx context.Context, r *report, dir, namespace, pod, container string) {
	for _, previous := range []bool{false, true} {
		lines := int64(logLines)
		o := &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &lines}
		text, err := c.client.Typed().CoreV1().Pods(namespace).GetLogs(pod, o).DoRaw(ctx)
		name := cmp.Or(container, "container")
		switch {
		case !previous:
			r.add(dir+"/"+name+".log", text, err)
		case err == nil && len(bytes.TrimSpace(text)) > 0: // most were never restarted: no error
			r.add(dir+"/"+name+".previous.log", text, nil)
		}
	}
}
