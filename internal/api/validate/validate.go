// Package validate checks what the types of an object cannot say: Istio's and
// Kubernetes' rules for the values of fields and for fields together. There is one
// pure function per kind; messages are sentences for the author of the object.
package validate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingbeta "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// FieldError is one mistake in an object, or one warning about it.
type FieldError struct {
	File string // the object's Source.File; may be empty
	Line int    // 1-based; 0 where the object did not come from a file
	Ref  verdict.Ref
	Path string // "spec.http[0].route[1].weight"; empty for the whole object
	Msg  string // one sentence without a full stop
}

// Error gives the form of api.DecodeError: file, line, object, path, message.
func (e *FieldError) Error() string {
	return (&api.DecodeError{File: e.File, Line: e.Line, Object: e.Ref.String(), Path: e.Path, Msg: e.Msg}).Error()
}

// Object returns the mistakes of o, in the order of lines. An object with
// mistakes must not come into force. Kinds that Lateen does not act on yet are
// checked as well: they are stored, and act one day.
func Object(o *api.Object) []*FieldError {
	c := check(o)
	return c.errs
}

// Warnings returns what is allowed in o but probably not meant or deprecated.
func Warnings(o *api.Object) []*FieldError {
	c := check(o)
	return c.warnings
}

// Error joins the mistakes of o; it is nil for a good object.
func Error(o *api.Object) error {
	var errs []error
	for _, e := range Object(o) {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

func check(o *api.Object) *checker {
	c := &checker{object: o}
	c.meta()
	if spec, ok := o.Spec.(proto.Message); ok {
		c.istio(spec)
	}
	switch spec := o.Spec.(type) {
	case *gatewayv1.GatewayClass:
		c.gatewayClass(&spec.Spec)
	case *gatewayv1.Gateway:
		c.gatewayOfAPI(&spec.Spec)
	case *gatewayv1.HTTPRoute:
		c.httpRouteOfAPI(&spec.Spec)
	case *gatewayv1.GRPCRoute:
		c.grpcRoute(&spec.Spec)
	case *gatewayv1.ReferenceGrant:
		c.referenceGrant(&spec.Spec)
	case *corev1.Service:
		c.service(spec)
	case *appsv1.Deployment:
		c.deployment(spec)
	case *corev1.Secret:
		c.secret(spec)
	case *corev1.ConfigMap:
		c.configMap(spec)
	}
	for _, list := range [][]*FieldError{c.errs, c.warnings} {
		slices.SortStableFunc(list, func(a, b *FieldError) int { return cmp.Compare(a.Line, b.Line) })
	}
	return c
}

// istio checks the specs of Istio's kinds.
func (c *checker) istio(spec proto.Message) {
	switch spec := spec.(type) {
	case *networking.VirtualService:
		c.virtualService(spec)
	case *networking.DestinationRule:
		c.destinationRule(spec)
	case *networking.Gateway:
		c.gateway(spec)
	case *networking.ServiceEntry:
		c.serviceEntry(spec)
	case *networking.WorkloadEntry:
		c.workloadEntry("spec", spec, true)
	case *networking.WorkloadGroup:
		c.workloadGroup(spec)
	case *networking.Sidecar:
		c.sidecar(spec)
	case *networking.EnvoyFilter:
		c.envoyFilter(spec)
	case *networkingbeta.ProxyConfig:
		c.proxyConfig(spec)
	case *security.PeerAuthentication:
		c.peerAuthentication(spec)
	case *security.RequestAuthentication:
		c.requestAuthentication(spec)
	case *security.AuthorizationPolicy:
		c.authorizationPolicy(spec)
	case *telemetry.Telemetry:
		c.telemetry(spec)
	case *extensions.WasmPlugin:
		c.wasmPlugin(spec)
	case *extensions.TrafficExtension:
		c.trafficExtension(spec)
	}
}

// checker collects what is wrong with one object.
type checker struct {
	object   *api.Object
	errs     []*FieldError
	warnings []*FieldError
}

func (c *checker) finding(path, format string, args ...any) *FieldError {
	s := c.object.Source
	return &FieldError{File: s.File, Line: s.LineOf(path), Ref: c.object.Ref(), Path: path, Msg: fmt.Sprintf(format, args...)}
}

// written reports whether the object's text has the field at path, be it empty.
func (c *checker) written(path string) bool {
	_, ok := c.object.Source.Lines[path]
	return ok
}

func (c *checker) fail(path, format string, args ...any) {
	c.errs = append(c.errs, c.finding(path, format, args...))
}

func (c *checker) warn(path, format string, args ...any) {
	c.warnings = append(c.warnings, c.finding(path, format, args...))
}

func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func key(path, k string) string { return path + "[" + k + "]" }

// oneOf formats a list of allowed words.
func oneOf(words ...string) string { return strings.Join(words, ", ") }
