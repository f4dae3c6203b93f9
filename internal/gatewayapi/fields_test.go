package gatewayapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
)

// unread are the fields that change nothing when they are set, and why.
var unread = map[string]string{
	"GatewayClassSpec.Description":            "a text for people",
	"ParametersReference.Name":                "the deployment controller reads the ConfigMap",
	"ParametersReference.Namespace":           "as above",
	"ParametersReference.Group":               "told from its absence: a ConfigMap's is empty",
	"LocalParametersReference.Name":           "the deployment controller reads the ConfigMap",
	"LocalParametersReference.Group":          "as above",
	"GatewayInfrastructure.Labels":            "the deployment controller copies them",
	"GatewayInfrastructure.Annotations":       "as above",
	"AllowedListeners.Namespaces":             "allowedListeners as a whole has a verdict",
	"ListenerNamespaces.From":                 "as above",
	"ListenerNamespaces.Selector":             "as above",
	"GatewayBackendTLS.ClientCertificateRef":  "spec.tls.backend as a whole has a verdict",
	"FrontendTLSValidation.CACertificateRefs": "a listener that asks for certificates is closed whatever they are checked with",
	"FrontendTLSValidation.Mode":              "as above",
	"ObjectReference.Group":                   "as above",
	"ObjectReference.Kind":                    "as above",
	"ObjectReference.Name":                    "as above",
	"ObjectReference.Namespace":               "as above",
	"HTTPRouteFilter.CORS":                    "the type decides: such a rule answers 500",
	"HTTPRouteFilter.ExternalAuth":            "as above",
	"HTTPRouteFilter.ExtensionRef":            "as above",
	"GRPCRouteFilter.ExtensionRef":            "as above",
}

// opaque are types whose content has one verdict as a whole, or none of whose fields
// is ours to read.
var opaque = []reflect.Type{
	reflect.TypeFor[gatewayv1.SessionPersistence](), reflect.TypeFor[gatewayv1.HTTPCORSFilter](), reflect.TypeFor[gatewayv1.HTTPExternalAuthFilter](),
	reflect.TypeFor[gatewayv1.LocalObjectReference](), reflect.TypeFor[metav1.LabelSelectorRequirement](),
}

// TestEveryFieldMatters clears each field of the example in turn: what is read must
// then come out different. A field that the example does not set, or that changes
// nothing, must be declared above: nothing is ignored silently.
func TestEveryFieldMatters(t *testing.T) {
	text, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objs := decodeAll(t, string(text))
	want := reading(t, objs)
	proven := map[string]bool{}
	for i, o := range objs {
		if o.Kind.Group != api.GroupGatewayAPI {
			continue
		}
		for at := range clearEach(specOf(o.Spec), -1, nil) {
			name, changed := "", *o
			changed.Spec = o.Spec.(runtime.Object).DeepCopyObject()
			clearEach(specOf(changed.Spec), at, func(f string) { name = f })
			objs[i] = &changed
			if reading(t, objs) != want {
				proven[name] = true
			}
			objs[i] = o
		}
	}
	all := map[string]bool{}
	for _, spec := range []any{
		gatewayv1.GatewayClassSpec{}, gatewayv1.GatewaySpec{}, gatewayv1.HTTPRouteSpec{}, gatewayv1.GRPCRouteSpec{}, gatewayv1.ReferenceGrantSpec{},
	} {
		fieldsOf(reflect.TypeOf(spec), all)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch why := unread[name]; {
		case proven[name] && why != "":
			t.Errorf("%s is declared unread (%s), and matters", name, why)
		case !proven[name] && why == "":
			t.Errorf("%s: clearing it changes nothing, or the example does not set it", name)
		}
	}
	for name := range unread {
		if !all[name] {
			t.Errorf("there is no field %s", name)
		}
	}
}

func specOf(o any) reflect.Value { return reflect.ValueOf(o).Elem().FieldByName("Spec") }

func decodeAll(t *testing.T, text string) []*api.Object {
	t.Helper()
	list, err := api.Decode(strings.NewReader(text), "every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// reading is everything that Read says of the objects, on Kubernetes.
func reading(t *testing.T, objs []*api.Object) string {
	t.Helper()
	cfg, statuses, said := Read(objs, Options{Deployed: true})
	var shown []any
	for _, s := range statuses {
		shown = append(shown, s.Object.Ref(), s.Class, s.Gateway, s.Route)
	}
	out, err := json.Marshal([]any{cfg, shown, said})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// clearEach walks the set fields below a value, clears the one with the number at, and
// returns how many there are.
func clearEach(v reflect.Value, at int, cleared func(name string)) int {
	n := 0
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			if slices.Contains(opaque, v.Type()) {
				return
			}
			for i := range v.NumField() {
				f, field := v.Field(i), v.Type().Field(i)
				if field.Anonymous {
					walk(f)
					continue
				}
				if f.IsZero() {
					continue
				}
				if n == at {
					f.SetZero()
					cleared(v.Type().Name() + "." + field.Name)
				}
				n++
				walk(f)
			}
		}
	}
	walk(v)
	return n
}

// fieldsOf collects the fields of a type and of all below it.
func fieldsOf(t reflect.Type, into map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(opaque, t) {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := t.Name() + "." + f.Name
		if f.Anonymous {
			fieldsOf(f.Type, into)
			continue
		}
		if !into[name] {
			into[name] = true
			fieldsOf(f.Type, into)
		}
	}
}

// TestTheTestCanFail: a field that nothing reads is found.
func TestTheTestCanFail(t *testing.T) {
	type inner struct{ Read, Ignored string }
	type outer struct {
		Inner *inner
		List  []inner
	}
	all := map[string]bool{}
	fieldsOf(reflect.TypeFor[outer](), all)
	if got := fmt.Sprint(slices.Sorted(maps.Keys(all))); got != "[inner.Ignored inner.Read outer.Inner outer.List]" {
		t.Error(got)
	}
	v := outer{Inner: &inner{"a", "b"}, List: []inner{{"c", ""}}}
	var names []string
	n := clearEach(reflect.ValueOf(&v).Elem(), -1, nil)
	for i := range n {
		c := outer{Inner: &inner{"a", "b"}, List: []inner{{"c", ""}}}
		clearEach(reflect.ValueOf(&c).Elem(), i, func(f string) { names = append(names, f) })
	}
	if got := strings.Join(names, " "); got != "outer.Inner inner.Read inner.Ignored outer.List inner.Read" {
		t.Error(got)
	}
}
