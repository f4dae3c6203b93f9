package inject

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/Masterminds/sprig/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// functions are what templates may call: those of Istio's injection templates and
// the functions of Sprig, which these have too, except those of chance, time and
// network, since equal pods must give equal results.
func functions(getenv func(string) string) template.FuncMap {
	f := sprig.HermeticTxtFuncMap()
	for _, name := range []string{
		"bcrypt", "buildCustomCert", "encryptAES", "genCA", "genCAWithKey", "genPrivateKey", "genSelfSignedCert", "genSelfSignedCertWithKey",
		"genSignedCert", "genSignedCertWithKey", "htpasswd", "shuffle",
	} {
		delete(f, name)
	}
	own := template.FuncMap{
		"annotation": annotationOr, "applicationPorts": applicationPorts, "includeInboundPorts": allPorts,
		"excludeInboundPort": excludeInboundPort, "isset": isset, "valueOrDefault": valueOrDefault,
		"toJSON": toJSON, "toJson": toJSON, "structToJSON": toJSON, "fromJSON": fromJSON, "protoToJSON": protoToJSON,
		"toYaml": toYAML, "indent": indent, "directory": directory, "toLower": strings.ToLower,
		"contains":            func(part, text string) bool { return strings.Contains(text, part) },
		"kubevirtInterfaces":  func(s string) string { return s },
		"formatDuration":      func(d *durationpb.Duration) string { return d.AsDuration().String() },
		"appendMultusNetwork": appendMultusNetwork, "quote": quote,
		"env": func(name, def string) string {
			if getenv != nil {
				if v := getenv(name); v != "" {
					return v
				}
			}
			return def
		},
	}
	for name, fn := range own {
		f[name] = fn
	}
	return f
}

// quote writes values as YAML double-quoted scalars, whatever they contain, with
// spaces between them. nil is left out.
func quote(values ...any) string {
	var out []string
	for _, v := range values {
		if v != nil {
			out = append(out, quoteText(fmt.Sprint(v)))
		}
	}
	return strings.Join(out, " ")
}

// quoteText escapes all but printable ASCII (YAML 1.2, section 5.7).
func quoteText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, string(utf8.RuneError)) {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r >= 0x20 && r < 0x7f:
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func isset(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

func annotationOr(meta metav1.ObjectMeta, name string, def any) string {
	if v, ok := meta.Annotations[name]; ok {
		return v
	}
	return fmt.Sprint(def)
}

func valueOrDefault(value, def any) any {
	if value == nil || value == "" {
		return def
	}
	return value
}

func directory(file string) string {
	dir, _ := path.Split(file)
	return dir
}

// excludeInboundPort adds a port to a list of ports, unless it is there or 0.
func excludeInboundPort(port any, ports string) string {
	p := strings.TrimSpace(fmt.Sprint(port))
	have := list(ports)
	if p != "" && p != "0" && !slices.Contains(have, p) {
		have = append(have, p)
	}
	return strings.Join(slices.DeleteFunc(have, func(s string) bool { return s == "" }), ",")
}

// applicationPorts lists the TCP ports of all containers but the proxy.
func applicationPorts(containers []corev1.Container) string {
	return tcpPorts(slices.DeleteFunc(slices.Clone(containers), func(c corev1.Container) bool { return c.Name == ProxyContainer }))
}

func allPorts(containers []corev1.Container) string { return tcpPorts(containers) }

func tcpPorts(containers []corev1.Container) string {
	var out []string
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				out = append(out, strconv.Itoa(int(p.ContainerPort)))
			}
		}
	}
	return strings.Join(out, ",")
}

// compactJSON is JSON without spaces and without escapes for HTML.
func compactJSON(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// toJSON gives "{}" for nil, as Istio's function does.
func toJSON(v any) (string, error) {
	switch m := v.(type) {
	case nil:
		return "{}", nil
	case map[string]string:
		if m == nil {
			return "{}", nil
		}
	}
	text, err := json.Marshal(v)
	return printable(string(text)), err
}

// printable escapes what JSON takes as it is and YAML does not (YAML 1.2, section
// 5.1); in JSON that can only be inside of texts.
func printable(js string) string {
	odd := func(r rune) bool { return r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff }
	if strings.IndexFunc(js, odd) < 0 {
		return js
	}
	var b strings.Builder
	for _, r := range js {
		if odd(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func fromJSON(text string) (any, error) {
	var v any
	err := json.Unmarshal([]byte(text), &v)
	return v, err
}

// protoToJSON leaves the defaults of a ProxyConfig out.
func protoToJSON(m proto.Message) (string, error) {
	if pc, ok := m.(*meshconfig.ProxyConfig); ok {
		return proxyConfigJSON(pc)
	}
	if m == nil || !m.ProtoReflect().IsValid() {
		return "{}", nil
	}
	return stableJSON(m)
}

func toYAML(v any) (string, error) {
	text, err := yaml.Marshal(v)
	return string(text), err
}

// indent moves all lines but the first, which its template has indented.
func indent(spaces int, text string) string {
	return strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", spaces))
}

// appendMultusNetwork adds a network to the annotation k8s.v1.cni.cncf.io/networks,
// which is a list of names or a JSON list.
func appendMultusNetwork(existing, network string) (string, error) {
	if strings.TrimSpace(existing) == "" {
		return network, nil
	}
	if strings.HasPrefix(strings.TrimSpace(existing), "[") {
		var networks []map[string]any
		if err := json.Unmarshal([]byte(existing), &networks); err != nil {
			return "", userError("annotation %s: %w", annotationMultus, err)
		}
		for _, n := range networks {
			if n["name"] == network {
				return existing, nil
			}
		}
		return compactJSON(append(networks, map[string]any{"name": network}))
	}
	for _, n := range strings.Split(existing, ",") {
		if strings.TrimSpace(n) == network {
			return existing, nil
		}
	}
	return existing + ", " + network, nil
}
