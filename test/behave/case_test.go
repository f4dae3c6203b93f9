package behave

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// The data planes.
const (
	ours  = "ours"
	envoy = "envoy"
)

// Roles of the proxy under test.
const (
	roleSidecar = "sidecar" // scripts call from its pod
	roleServer  = "server"  // scripts call its pod, in which a server answers
	roleGateway = "gateway" // scripts call it
)

// testCase is one file.
type testCase struct {
	name, title string
	rows        []string
	kind        string // positive, negative, interaction
	role        string
	node        nodeFacts
	workloads   []workload
	except      map[string]string // by data plane: why the case does not hold there
	differs     string            // why lines are marked [ours] or [envoy]
	files       map[string]string
	script      []*statement
}

// nodeFacts is a proxy under test.
type nodeFacts struct {
	name, namespace, account string
	labels                   map[string]string
	locality                 registry.Locality
}

func (i *nodeFacts) key(role string) string {
	var b strings.Builder
	fmt.Fprint(&b, role, " ", i.name, ".", i.namespace, " ", i.account, i.locality)
	for _, k := range slices.Sorted(maps.Keys(i.labels)) {
		fmt.Fprint(&b, " ", k, "=", i.labels[k])
	}
	return b.String()
}

// workload is a server in the world.
type workload struct {
	nodeFacts
	addr    netip.Addr
	ports   []uint16
	outside bool // not of the mesh: nobody is told of it
	mtls    bool // has a sidecar: is called with mTLS
	unready bool
	first   string // what it says before the client does, on raw TCP
}

// defaultPorts are the ports that a workload serves unless it says otherwise.
var defaultPorts = []uint16{8080, 9080, 9090, 9000}

// loadCase reads a file.
func loadCase(path string) (*testCase, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &testCase{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), role: roleSidecar, files: map[string]string{}, except: map[string]string{}}
	ar := txtar.Parse(text)
	for _, f := range ar.Files {
		c.files[f.Name] = string(f.Data)
	}
	if err := c.header(string(ar.Comment)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	script, ok := c.files["script"]
	if !ok {
		return nil, fmt.Errorf("%s: it has no script", path)
	}
	start := strings.Count(string(text[:strings.Index(string(text), "-- script --")]), "\n") + 1
	if c.script, err = parseScript(script, filepath.Base(path), start); err != nil {
		return nil, err
	}
	for _, s := range c.script {
		for _, e := range s.lines {
			if e.plane != "" && c.differs == "" {
				return nil, fmt.Errorf("%s:%d: a line for one data plane needs a header \"differs: REASON\"", path, e.line)
			}
		}
	}
	return c, nil
}

// base is what every case has unless it says "base: none".
var baseWorkloads = []string{
	"reviews-v1 app=reviews version=v1", "reviews-v2 app=reviews version=v2", "reviews-v3 app=reviews version=v3",
	"ratings-v1 app=ratings version=v1", "ratings-v2 app=ratings version=v2",
	"greeter-v1 app=greeter version=v1", "greeter-v2 app=greeter version=v2",
	"echo-v1 app=echo version=v1", "echo-v2 app=echo version=v2",
}

func (c *testCase) header(text string) error {
	base := true
	var own []string
	for n, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if n == 0 {
			c.title = line
			continue
		}
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("header line %q has no colon", line)
		}
		value = strings.TrimSpace(value)
		switch key {
		case "rows":
			c.rows = strings.Fields(value)
		case "kind":
			c.kind = value
		case "role":
			c.role = value
		case "node":
			w, err := parseWorkload(value)
			if err != nil {
				return err
			}
			c.node = w.nodeFacts
		case "base":
			base = value != "none"
		case "workload", "outside":
			own = append(own, value+map[string]string{"outside": " @outside"}[key])
		case "except":
			plane, why, ok := strings.Cut(value, ":")
			if !ok || plane != ours && plane != envoy || strings.TrimSpace(why) == "" {
				return fmt.Errorf("header line %q: want except: ours|envoy: REASON", line)
			}
			c.except[plane] = strings.TrimSpace(why)
		case "differs":
			c.differs = value
		default:
			return fmt.Errorf("header %q is not known", key)
		}
	}
	return c.complete(base, own)
}

func (c *testCase) complete(base bool, own []string) error {
	if len(c.rows) == 0 || !slices.Contains([]string{"positive", "negative", "interaction"}, c.kind) {
		return fmt.Errorf("the header needs rows: and kind: positive|negative|interaction")
	}
	if !slices.Contains([]string{roleSidecar, roleServer, roleGateway}, c.role) {
		return fmt.Errorf("role %q is not known", c.role)
	}
	if c.node.name == "" {
		c.node = map[string]nodeFacts{
			roleSidecar: {name: "client", namespace: "default", labels: map[string]string{"app": "client", "version": "v1"}},
			roleServer:  {name: "server", namespace: "default", labels: map[string]string{"app": "server", "version": "v1"}},
			roleGateway: {name: "istio-ingressgateway", namespace: "istio-system", labels: map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"}},
		}[c.role]
	}
	if c.node.account == "" {
		c.node.account = c.node.name
	}
	if base {
		own = append(slices.Clone(baseWorkloads), own...)
		c.files["base.yaml"] = baseYAML
	}
	for _, text := range own {
		list, err := parseReplicas(text)
		if err != nil {
			return err
		}
		c.workloads = append(c.workloads, list...)
	}
	next := netip.MustParseAddr("10.244.1.1")
	for i := range c.workloads {
		if !c.workloads[i].addr.IsValid() {
			c.workloads[i].addr = next
			next = next.Next()
		}
	}
	return nil
}

// parseReplicas reads a workload and makes as many as it asks for.
func parseReplicas(text string) ([]workload, error) {
	n, kept := 1, []string{}
	for _, f := range strings.Fields(text) {
		if v, ok := strings.CutPrefix(f, "@replicas="); ok {
			var err error
			if n, err = strconv.Atoi(v); err != nil {
				return nil, fmt.Errorf("workload %q: %w", text, err)
			}
			continue
		}
		kept = append(kept, f)
	}
	w, err := parseWorkload(strings.Join(kept, " "))
	if err != nil || n == 1 {
		return []workload{w}, err
	}
	var list []workload
	for i := range n {
		x := w
		x.name = fmt.Sprint(w.name, "-", i)
		list = append(list, x)
	}
	return list, nil
}

// parseWorkload reads NAME[.NAMESPACE] KEY=VALUE... @ATTRIBUTE...
func parseWorkload(text string) (workload, error) {
	f := strings.Fields(text)
	if len(f) == 0 {
		return workload{}, fmt.Errorf("a workload without a name")
	}
	w := workload{nodeFacts: nodeFacts{labels: map[string]string{}}, ports: defaultPorts}
	w.name, w.namespace, _ = strings.Cut(f[0], ".")
	if w.namespace == "" {
		w.namespace = "default"
	}
	for _, x := range f[1:] {
		key, value, _ := strings.Cut(x, "=")
		if !strings.HasPrefix(key, "@") {
			w.labels[key] = value
			continue
		}
		if err := w.attribute(key, value); err != nil {
			return w, fmt.Errorf("workload %s: %s: %w", w.name, x, err)
		}
	}
	if w.account == "" {
		w.account = "default"
	}
	return w, nil
}

func (w *workload) attribute(key, value string) (err error) {
	switch key {
	case "@outside":
		w.outside = true
	case "@mtls":
		w.mtls = true
	case "@unready":
		w.unready = true
	case "@sa":
		w.account = value
	case "@first":
		w.first = value
	case "@address":
		w.addr, err = netip.ParseAddr(value)
	case "@zone":
		p := append(strings.Split(value, "/"), "", "")
		w.locality = registry.Locality{Region: p[0], Zone: p[1], Subzone: p[2]}
	case "@ports":
		w.ports = nil
		for _, p := range strings.Split(value, ",") {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return err
			}
			w.ports = append(w.ports, uint16(n))
		}
	default:
		err = fmt.Errorf("not known")
	}
	return err
}

// baseYAML is what every case starts from.
const baseYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: default}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: default}
spec: {selector: {app: greeter}, ports: [{name: grpc, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: tcp, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: default}
spec: {selector: {app: server}, ports: [{name: http, port: 8080}, {name: tcp, port: 9000}, {name: grpc, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]
`
