package analyze

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/api/resource"
)

// annotations judges Istio's annotations: whether they exist, belong where they are
// and can have their value.
func annotations(w *world) {
	known := map[string]*annotation.Instance{}
	for _, a := range annotation.AllResourceAnnotations() {
		known[a.Name] = a
	}
	for _, o := range w.in.Objects {
		kind := o.Kind.Name
		for _, name := range slices.Sorted(maps.Keys(o.Meta.Annotations)) {
			w.annotation(known, kind, name, o.Meta.Annotations[name], func(code string, args ...any) {
				w.say(code, o, "metadata.annotations["+name+"]", args...)
			})
		}
	}
	for i := range w.workloads {
		x := &w.workloads[i]
		for _, name := range slices.Sorted(maps.Keys(x.annotations)) {
			w.annotation(known, "Pod", name, x.annotations[name], func(code string, args ...any) {
				w.sayWorkload(code, x, args...)
			})
		}
	}
}

// unlisted are annotations that Istio reads and whose list does not have them.
var unlisted = []string{
	"prometheus.istio.io/scrape-targets", "istio.io/connect-strategy", "istio.io/ignore-policy-attachment",
	"ambient.istio.io/xfcc-include-client-identity",
}

func (w *world) annotation(known map[string]*annotation.Instance, kind, name, value string, say func(code string, args ...any)) {
	prefix, _, _ := strings.Cut(name, "/")
	if prefix != "istio.io" && !strings.HasSuffix(prefix, ".istio.io") || slices.Contains(unlisted, name) {
		return
	}
	a := known[name]
	if a == nil {
		say("IST0108", name)
		return
	}
	if belongs, where := place(a, kind); !belongs {
		say("IST0107", name, where)
		return
	}
	if problem := valueProblem(name, value); problem != "" {
		say("IST0125", name, problem)
	}
	switch {
	case a.Deprecated && name == annotation.SidecarInject.Name:
		say("IST0135", name, "; use the label of the same name")
	case a.Deprecated:
		say("IST0135", name, "")
	case a.FeatureStatus == annotation.Alpha && name != annotation.GalleyAnalyzeSuppress.Name:
		say("IST0136", name)
	}
}

// place tells whether an annotation may stand on objects of a kind, and where it may.
func place(a *annotation.Instance, kind string) (ok bool, where string) {
	var list []string
	for _, r := range a.Resources {
		list = append(list, r.String())
		ok = ok || r == annotation.Any || r.String() == kind
	}
	return ok, strings.Join(list, ", ")
}

// valueProblem says what is wrong with the value of an annotation; "" for nothing.
func valueProblem(name, value string) string {
	_, short, _ := strings.Cut(name, "/")
	switch {
	case slices.Contains([]string{"inject", "rewriteAppHTTPProbers", "nativeSidecar", "merge-metrics", "dry-run", "bypass-inbound-capture", "dns-capture"}, short):
		if _, err := strconv.ParseBool(value); err != nil {
			return strconv.Quote(value) + " is neither true nor false"
		}
	case strings.HasSuffix(short, "boundPorts") || short == "applicationPorts":
		return portsProblem(value)
	case strings.HasSuffix(short, "OutboundIPRanges"):
		return rangesProblem(value)
	case strings.HasPrefix(short, "proxyCPU") || strings.HasPrefix(short, "proxyMemory"):
		if _, err := resource.ParseQuantity(value); err != nil {
			return strconv.Quote(value) + " is not a quantity such as 100m or 128Mi"
		}
	case short == "statsFlushInterval" || short == "statsEvictionInterval":
		if _, err := time.ParseDuration(value); err != nil {
			return strconv.Quote(value) + " is not a duration such as 5s"
		}
	case name == annotation.SidecarStatusPort.Name || strings.HasSuffix(short, "Seconds") || strings.HasSuffix(short, "Threshold"):
		if _, err := strconv.ParseUint(value, 10, 16); err != nil {
			return strconv.Quote(value) + " is not a number"
		}
	case short == "interceptionMode":
		if value != "REDIRECT" && value != "TPROXY" && value != "NONE" {
			return strconv.Quote(value) + " is not REDIRECT, TPROXY or NONE"
		}
	}
	return ""
}

func portsProblem(value string) string {
	if value == "*" || value == "" {
		return ""
	}
	for p := range strings.SplitSeq(value, ",") {
		if n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 16); err != nil || n == 0 {
			return strconv.Quote(p) + " is not a port"
		}
	}
	return ""
}

func rangesProblem(value string) string {
	if value == "*" || value == "" {
		return ""
	}
	for r := range strings.SplitSeq(value, ",") {
		if _, err := netip.ParsePrefix(strings.TrimSpace(r)); err != nil {
			return strconv.Quote(r) + " is not a range of addresses such as 10.0.0.0/8"
		}
	}
	return ""
}

// injectionLabels judges the labels of namespaces that bring pods into the mesh.
func injectionLabels(w *world) {
	if w.in.Proxied {
		return // every workload has a proxy
	}
	for _, ns := range slices.Sorted(maps.Keys(w.namespaces)) {
		o := w.namespaces[ns]
		var has []string
		for _, label := range []string{"istio-injection", "istio.io/rev"} {
			if v, ok := o.Meta.Labels[label]; ok {
				has = append(has, label+"="+v)
			}
		}
		switch {
		case len(has) > 1:
			w.say("IST0123", o, "metadata.labels", strings.Join(has, ", "))
		case len(has) == 0 && o.Meta.Labels["istio.io/dataplane-mode"] == "" && ns != w.root && !strings.HasPrefix(ns, "kube-"):
			w.say("IST0102", o, "metadata.labels")
		}
	}
}

// injected tells whether pods of a workload get a proxy from the injector.
func (w *world) injected(x *workload) bool {
	for _, m := range []map[string]string{x.labels, x.annotations} {
		if v, ok := m["sidecar.istio.io/inject"]; ok {
			b, err := strconv.ParseBool(v)
			return err == nil && b
		}
	}
	if x.labels["istio.io/rev"] != "" {
		return true
	}
	o := w.namespaces[x.ref.Namespace]
	if o == nil {
		return false
	}
	v, ok := o.Meta.Labels["istio-injection"]
	return v == "enabled" || !ok && o.Meta.Labels["istio.io/rev"] != ""
}

// autoImages finds containers that wait for an image from the injector in vain.
func autoImages(w *world) {
	for i := range w.workloads {
		x := &w.workloads[i]
		code := "IST0146"
		if x.ref.Kind == "Pod" {
			code = "IST0147"
		}
		for j := range x.spec.Containers {
			if c := &x.spec.Containers[j]; c.Image == "auto" && !w.injected(x) && !w.in.Proxied {
				w.sayWorkload(code, x, c.Name)
			}
		}
	}
}

// proxyUser is the user id of proxies.
const proxyUser = 1337

// applicationUsers finds applications that run as the proxy does.
func applicationUsers(w *world) {
	for i := range w.workloads {
		x := &w.workloads[i]
		pod := x.spec.SecurityContext != nil && x.spec.SecurityContext.RunAsUser != nil && *x.spec.SecurityContext.RunAsUser == proxyUser
		for j := range x.spec.Containers {
			c := &x.spec.Containers[j]
			if c.Name == "istio-proxy" || c.Name == "lateen-proxy" {
				continue
			}
			if s := c.SecurityContext; s != nil && s.RunAsUser != nil {
				if *s.RunAsUser != proxyUser {
					continue
				}
			} else if !pod {
				continue
			}
			w.sayWorkload("IST0144", x)
			break
		}
	}
}
