package compile_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/istioapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

var update = flag.Bool("update", false, "rewrite the outputs of golden cases")

// pipeline is everything that one case goes through.
type pipeline struct {
	node     compile.Node
	snap     *mesh.Snapshot
	proxy    *ir.Proxy
	set      *build.Set
	statuses []verdict.Status
	gateways []gatewayapi.Status
}

// caseWorkload is one entry of workloads.yaml.
type caseWorkload struct {
	Name, Namespace, Owner, Account, Addr string
	Labels                                map[string]string
	Ports                                 []registry.Port
	NotReady, Bare                        bool
	Region, Zone, Subzone                 string
	Host                                  string // the node that it runs on
}

// caseNode is node.yaml.
type caseNode struct {
	Workload     string // an instance of workloads.yaml
	Kind         string
	DataPlane    string
	Interception string
	SocketMark   uint32
	Names        bool // the workload asks the mesh for names
	Deployed     bool // gateways of the Gateway API, as on Kubernetes
	// Show limits xds.yaml to resources "type/name" by shell patterns.
	Show []string
	// IR limits ir.yaml to fields of ir.Proxy; "none" leaves the section out.
	IR []string
}

// TestGolden runs each case of testdata through the whole pipeline: objects in,
// ir, xDS and verdicts out. "before.yaml", where a case has it, is the
// configuration before the last change: it makes the Prior.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden cases: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := withBase(t, sections(ar))
			var cn caseNode
			decodeYAML(t, in["node.yaml"], &cn)
			p := run(t, in, cn, nil)
			acceptable(t, p)
			got := map[string]string{"status.yaml": dumpStatuses(t, p.statuses), "xds.yaml": dumpSet(t, p.set, cn.Show)}
			if len(p.gateways) > 0 {
				got["conditions.txt"] = dumpConditions(p.gateways)
			}
			if !slices.Contains(cn.IR, "none") {
				got["ir.yaml"] = dumpIR(t, p.proxy, cn.IR)
			}
			compareGolden(t, file, ar, got)
		})
	}
}

func compareGolden(t *testing.T, file string, ar *txtar.Archive, got map[string]string) {
	t.Helper()
	if *update {
		ar.Files = slices.DeleteFunc(ar.Files, func(f txtar.File) bool { return isOutput(f.Name) })
		for _, name := range outputs {
			if text, ok := got[name]; ok {
				ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(text)})
			}
		}
		writeFile(t, file, txtar.Format(ar))
		return
	}
	want := sections(ar)
	for _, name := range outputs {
		if diff := gocmp.Diff(want[name], got[name]); diff != "" {
			t.Errorf("%s (-want +got; go test -update rewrites it):\n%s", name, diff)
		}
	}
}

var outputs = []string{"status.yaml", "conditions.txt", "ir.yaml", "xds.yaml"}

func isOutput(name string) bool { return slices.Contains(outputs, name) }

func sections(ar *txtar.Archive) map[string]string {
	out := map[string]string{}
	for _, f := range ar.Files {
		out[f.Name] = string(f.Data)
	}
	return out
}

// withBase fills in the mesh of testdata/base (Bookinfo, a gateway, MongoDB) where
// a case has no services or workloads of its own.
func withBase(t testing.TB, in map[string]string) map[string]string {
	t.Helper()
	for _, name := range []string{"services.yaml", "workloads.yaml"} {
		if _, ok := in[name]; ok {
			continue
		}
		text, err := os.ReadFile(filepath.Join("testdata", "base", name))
		if err != nil {
			t.Fatal(err)
		}
		in[name] = string(text)
	}
	return in
}

// run takes a case through the pipeline. reorder, if not nil, changes the order of
// the inputs.
func run(t testing.TB, in map[string]string, cn caseNode, reorder func(objs []*api.Object, ws []registry.Workload)) *pipeline {
	t.Helper()
	workloads := readWorkloads(t, in["workloads.yaml"])
	var prior compile.Prior
	if before := in["before.yaml"]; before != "" {
		snap, _, _ := model(t, in["services.yaml"]+"\n---\n"+before, cn.Deployed, workloads, nil)
		prior = remembered(t, compile.Next(snap, nil))
	}
	p := &pipeline{node: nodeOf(t, cn, workloads)}
	var said []verdict.Status
	p.snap, p.gateways, said = model(t, in["services.yaml"]+"\n---\n"+in["in.yaml"], cn.Deployed, workloads, reorder)
	p.proxy, p.statuses = compile.Proxy(p.snap, p.node, prior)
	p.statuses = verdict.Sort(append(said, p.statuses...))
	var err error
	if p.set, err = build.Resources(p.proxy); err != nil {
		t.Fatal(err)
	}
	return p
}

// remembered stores a Prior and loads it again, as a restart does.
func remembered(t testing.TB, prior compile.Prior) compile.Prior {
	t.Helper()
	text, err := json.Marshal(prior)
	if err != nil {
		t.Fatal(err)
	}
	var out compile.Prior
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func model(t testing.TB, text string, deployed bool, workloads []registry.Workload, reorder func([]*api.Object, []registry.Workload)) (*mesh.Snapshot, []gatewayapi.Status, []verdict.Status) {
	t.Helper()
	objs, err := api.Decode(strings.NewReader(text), "in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range objs {
		if o.Meta.Created == 0 {
			o.Meta.Created = int64(i + 1) // the first in the file is the oldest
		}
	}
	workloads = slices.Clone(workloads)
	if reorder != nil {
		reorder(objs, workloads)
	}
	cfg, said := istioapi.Read(objs)
	second, gateways, saidToo := gatewayapi.Read(objs, gatewayapi.Options{Deployed: deployed})
	cfg.Add(second)
	said = append(said, saidToo...)
	vips := registry.Allocate(nil, netip.MustParsePrefix("10.96.0.0/16"), cfg.Services)
	snap, more := mesh.Build(cfg, mesh.Inputs{Workloads: workloads, VIPs: vips})
	return snap, gateways, append(said, more...)
}

func readWorkloads(t testing.TB, text string) []registry.Workload {
	t.Helper()
	var list []caseWorkload
	decodeYAML(t, text, &list)
	var out []registry.Workload
	for _, w := range list {
		owner := w.Owner
		if i := strings.LastIndexByte(w.Name, '-'); owner == "" && i > 0 {
			owner = w.Name[:i]
		}
		out = append(out, registry.Workload{
			Name: w.Name, Namespace: cmp.Or(w.Namespace, "default"), Owner: owner, OwnerKind: "Deployment",
			ServiceAccount: cmp.Or(w.Account, "default"), Labels: w.Labels, Addr: netip.MustParseAddr(w.Addr),
			Ports: w.Ports, Ready: !w.NotReady, Proxied: !w.Bare,
			Node: w.Host, Locality: registry.Locality{Region: w.Region, Zone: w.Zone, Subzone: w.Subzone},
		})
	}
	return out
}

func nodeOf(t testing.TB, cn caseNode, workloads []registry.Workload) compile.Node {
	t.Helper()
	for i := range workloads {
		w := &workloads[i]
		if w.Name != cn.Workload {
			continue
		}
		return compile.Node{
			ID: cn.Kind + "~" + w.Addr.String() + "~" + w.Name, Kind: cmp.Or(compile.Kind(cn.Kind), compile.Sidecar),
			Namespace: w.Namespace, Labels: w.Labels, ServiceAccount: w.ServiceAccount, IPs: []netip.Addr{w.Addr}, Workload: w.Owner,
			DataPlane: cmp.Or(ir.DataPlane(cn.DataPlane), ir.Native), Interception: compile.Interception(cn.Interception), SocketMark: cn.SocketMark, Names: cn.Names,
		}
	}
	t.Fatalf("node.yaml: no workload %q", cn.Workload)
	return compile.Node{}
}

func decodeYAML(t testing.TB, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// dumpStatuses leaves out objects that are simply effective.
func dumpStatuses(t testing.TB, list []verdict.Status) string {
	t.Helper()
	var b strings.Builder
	for _, s := range list {
		if s.Code == verdict.Effective {
			switch s.Kind {
			case "Service", "Namespace", "ServiceAccount":
				continue
			}
		}
		fmt.Fprintf(&b, "- %s", s)
		if !s.By.IsZero() {
			fmt.Fprintf(&b, " [by %s]", s.By)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// dumpConditions shows statuses of the Gateway API, one condition a line.
func dumpConditions(list []gatewayapi.Status) string {
	var b strings.Builder
	show := func(indent string, conditions []metav1.Condition) {
		for _, c := range conditions {
			fmt.Fprintf(&b, "%s%s=%s %s", indent, c.Type, c.Status, c.Reason)
			if c.Message != c.Reason {
				fmt.Fprintf(&b, ": %s", c.Message)
			}
			b.WriteByte('\n')
		}
	}
	for _, s := range list {
		fmt.Fprintln(&b, s.Object.Ref())
		switch {
		case s.Class != nil:
			show("  ", s.Class.Conditions)
		case s.Route != nil:
			for _, p := range s.Route.Parents {
				fmt.Fprintf(&b, "  parent %s of %s\n", p.ParentRef.Name, p.ControllerName)
				show("    ", p.Conditions)
			}
		case s.Gateway != nil:
			show("  ", s.Gateway.Conditions)
			for _, a := range s.Gateway.Addresses {
				fmt.Fprintf(&b, "  address %s %s\n", *a.Type, a.Value)
			}
			for _, l := range s.Gateway.Listeners {
				fmt.Fprintf(&b, "  listener %s: %d routes, kinds", l.Name, l.AttachedRoutes)
				for _, k := range l.SupportedKinds {
					fmt.Fprintf(&b, " %s", k.Kind)
				}
				b.WriteByte('\n')
				show("    ", l.Conditions)
			}
		}
	}
	return b.String()
}

func dumpIR(t testing.TB, p *ir.Proxy, fields []string) string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if len(fields) > 0 && !slices.Contains(fields, name) {
			delete(all, name)
		}
	}
	return toYAML(t, prune(all))
}

// prune removes what is zero, so that golden files show what is said.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e = prune(e); e == nil {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

func dumpSet(t testing.TB, set *build.Set, show []string) string {
	t.Helper()
	out := map[string]any{}
	for name, list := range map[string][]build.Resource{
		"listeners": set.Listeners, "routes": set.Routes, "clusters": set.Clusters, "endpoints": set.Endpoints, "secrets": set.Secrets,
	} {
		var shown []any
		for _, r := range list {
			if shows(show, name+"/"+r.Name) {
				shown = append(shown, dumpResource(t, r))
			}
		}
		if len(shown) > 0 {
			out[name] = shown
		}
	}
	return toYAML(t, out)
}

func shows(patterns []string, name string) bool {
	for _, p := range patterns {
		// "/" separates the type only: names hold it too.
		if ok, err := path.Match(strings.ReplaceAll(p, "/", ":"), strings.ReplaceAll(name, "/", ":")); err == nil && ok {
			return true
		}
	}
	return len(patterns) == 0
}

func dumpResource(t testing.TB, r build.Resource) any {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(r.TypeURL)
	if err != nil {
		t.Fatal(err)
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(r.Body, m); err != nil {
		t.Fatal(err)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func toYAML(t testing.TB, v any) string {
	t.Helper()
	if m, ok := v.(map[string]any); v == nil || ok && len(m) == 0 {
		return ""
	}
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
