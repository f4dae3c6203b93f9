package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lateen-mesh/lateen/internal/api"
)

// column is one column of get's tables.
type column struct {
	title string
	value func(item) string
	wide  bool // shown with -o wide only
}

// columnsOf gives the columns of a kind between NAME and AGE: those that kubectl
// shows for it.
func columnsOf(kind string) []column {
	switch kind {
	case api.KindVirtualService:
		return []column{{"GATEWAYS", at("spec", "gateways"), false}, {"HOSTS", at("spec", "hosts"), false}}
	case api.KindDestinationRule:
		return []column{{"HOST", at("spec", "host"), false}}
	case "ServiceEntry":
		return []column{{"HOSTS", at("spec", "hosts"), false}, {"LOCATION", at("spec", "location"), false}, {"RESOLUTION", at("spec", "resolution"), false}}
	case api.KindPeerAuthentication:
		return []column{{"MODE", at("spec", "mtls", "mode"), false}}
	case "AuthorizationPolicy":
		return []column{{"ACTION", at("spec", "action"), false}}
	case "WorkloadEntry":
		return []column{{"ADDRESS", at("spec", "address"), false}}
	case api.KindGateway:
		return []column{{"SELECTOR", selectorAt("spec", "selector"), true}, {"PORTS", serverPorts, true}}
	case api.RefGateway:
		return []column{{"CLASS", at("spec", "gatewayClassName"), false}, {"LISTENERS", listeners, false}}
	case api.KindGatewayClass:
		return []column{{"CONTROLLER", at("spec", "controllerName"), false}}
	case api.KindHTTPRoute, api.KindGRPCRoute:
		return []column{{"HOSTNAMES", at("spec", "hostnames"), false}}
	case api.KindService:
		return []column{
			{"TYPE", at("spec", "type"), false}, {"CLUSTER-IP", orNone("spec", "clusterIP"), false},
			{"EXTERNAL-IP", orNone("spec", "externalName"), false}, {"PORT(S)", servicePorts, false},
			{"SELECTOR", selectorAt("spec", "selector"), true},
		}
	case api.KindDeployment:
		return []column{
			{"REPLICAS", at("spec", "replicas"), false}, {"CONTAINERS", containers("name"), true},
			{"IMAGES", containers("image"), true}, {"SELECTOR", selectorAt("spec", "selector", "matchLabels"), true},
		}
	case api.KindSecret:
		return []column{{"TYPE", at("type"), false}, {"DATA", dataCount, false}}
	case api.KindConfigMap:
		return []column{{"DATA", dataCount, false}}
	case api.KindNamespace:
		return []column{{"STATUS", func(item) string { return "Active" }, false}}
	}
	return nil
}

func (it item) find(path ...string) any {
	var v any = it.doc
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// text gives a value as kubectl prints it: lists and maps as JSON.
func (it item) text(path ...string) string {
	switch v := it.find(path...).(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		text, _ := json.Marshal(v) // it came from JSON
		return string(text)
	}
}

func at(path ...string) func(item) string {
	return func(it item) string { return it.text(path...) }
}

func orNone(path ...string) func(item) string {
	return func(it item) string {
		if s := it.text(path...); s != "" {
			return s
		}
		return "<none>"
	}
}

func selectorAt(path ...string) func(item) string {
	return func(it item) string {
		m, _ := it.find(path...).(map[string]any)
		var pairs []string
		for k, v := range m {
			pairs = append(pairs, fmt.Sprintf("%s=%v", k, v))
		}
		sort.Strings(pairs)
		if len(pairs) == 0 {
			return "<none>"
		}
		return strings.Join(pairs, ",")
	}
}

// each joins what describe says of the maps in a list.
func (it item) each(describe func(item) string, path ...string) string {
	list, _ := it.find(path...).([]any)
	var all []string
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			all = append(all, describe(item{doc: m}))
		}
	}
	if len(all) == 0 {
		return "<none>"
	}
	return strings.Join(all, ",")
}

func servicePorts(it item) string {
	return it.each(func(p item) string {
		if node := p.text("nodePort"); node != "" {
			return p.text("port") + ":" + node + "/" + p.text("protocol")
		}
		return p.text("port") + "/" + p.text("protocol")
	}, "spec", "ports")
}

func serverPorts(it item) string {
	return it.each(func(s item) string { return s.text("port", "number") + "/" + s.text("port", "protocol") }, "spec", "servers")
}

func listeners(it item) string {
	return it.each(func(l item) string { return l.text("port") + "/" + l.text("protocol") }, "spec", "listeners")
}

func containers(name string) func(item) string {
	return func(it item) string {
		return it.each(func(c item) string { return c.text(name) }, "spec", "template", "spec", "containers")
	}
}

func dataCount(it item) string {
	n := 0
	for _, name := range []string{"data", "binaryData"} {
		m, _ := it.find(name).(map[string]any)
		n += len(m)
	}
	return strconv.Itoa(n)
}

func age(it item) string {
	created, err := time.Parse(time.RFC3339, it.text("metadata", "creationTimestamp"))
	if err != nil {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(created))
}

// tableOptions shape get's tables.
type tableOptions struct {
	wide, namespaces, noHeaders bool
	prefix                      bool // names with their resource, as kubectl does for several kinds
}

// printTables prints one table for each kind.
func printTables(out io.Writer, items []item, o tableOptions) error {
	for i := 0; i < len(items); {
		j := i
		for j < len(items) && items[j].kind == items[i].kind {
			j++
		}
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := printTable(out, items[i:j], o); err != nil {
			return err
		}
		i = j
	}
	return nil
}

func printTable(out io.Writer, items []item, o tableOptions) error {
	columns := []column{{title: "NAME", value: func(it item) string {
		if o.prefix {
			return it.kind.Resource() + "/" + it.text("metadata", "name")
		}
		return it.text("metadata", "name")
	}}}
	if o.namespaces && !items[0].kind.ClusterScoped {
		columns = append([]column{{title: "NAMESPACE", value: at("metadata", "namespace")}}, columns...)
	}
	own := columnsOf(items[0].kind.ID())
	for _, c := range own {
		if !c.wide {
			columns = append(columns, c)
		}
	}
	columns = append(columns, column{title: "AGE", value: age})
	for _, c := range own {
		if c.wide && o.wide {
			columns = append(columns, c)
		}
	}
	w := newTable(out)
	if !o.noHeaders {
		var titles []string
		for _, c := range columns {
			titles = append(titles, c.title)
		}
		w.row(titles...)
	}
	for _, it := range items {
		var cells []string
		for _, c := range columns {
			cells = append(cells, c.value(it))
		}
		w.row(cells...)
	}
	return w.flush()
}

// table aligns cells as kubectl does; lines end without spaces.
type table struct {
	out  io.Writer
	text bytes.Buffer
	w    *tabwriter.Writer
}

func newTable(out io.Writer) *table {
	t := &table{out: out}
	t.w = tabwriter.NewWriter(&t.text, 6, 4, 3, ' ', 0)
	return t
}

func (t *table) row(cells ...string) { fmt.Fprintln(t.w, strings.Join(cells, "\t")) }

func (t *table) flush() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(t.text.Bytes()) {
		if _, err := fmt.Fprintf(t.out, "%s\n", bytes.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
