package gatewayapi

import (
	"crypto/tls"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// terminate reads the TLS settings of an HTTPS listener. What a listener demands of
// its clients and we cannot check keeps it closed: it must not serve more than it says.
func (r *reader) terminate(l *listener) {
	cfg := l.spec.TLS
	if cfg == nil {
		cfg = &gatewayv1.ListenerTLSConfig{}
	}
	if m := value(cfg.Mode, gatewayv1.TLSModeTerminate); m != gatewayv1.TLSModeTerminate {
		r.refuse(l, gatewayv1.ListenerReasonUnsupportedValue, verdict.Unsupported, "tls.mode", fmt.Sprintf("an HTTPS listener cannot have the mode %s", m))
	}
	for name, v := range cfg.Options {
		if name == terminateMode && v != "SIMPLE" {
			r.refuse(l, gatewayv1.ListenerReasonUnsupportedValue, verdict.Unsupported, "tls.options", fmt.Sprintf("%s %s is not supported yet", name, v))
		} else if name != terminateMode {
			r.say(l.at.At("tls.options"), verdict.NotActedOn, "the option %s is not known", name)
		}
	}
	if frontend := l.gateway.spec.TLS; frontend != nil && frontend.Frontend != nil && asksForCertificates(frontend.Frontend, l.spec.Port) {
		r.refuse(l, gatewayv1.ListenerReasonUnsupportedValue, verdict.Unsupported, "tls", "certificates of clients (spec.tls.frontend) are not checked yet")
	}
	if len(cfg.CertificateRefs) == 0 {
		r.unresolved(l, "tls.certificateRefs", finding{string(gatewayv1.ListenerReasonInvalidCertificateRef), "the listener names no certificate"})
		return
	}
	if len(cfg.CertificateRefs) > 1 {
		r.say(l.at.At("tls.certificateRefs[1]"), verdict.NotActedOn, "only the first certificate is served")
	}
	at, bad := r.certificateRef(l.gateway.object.Meta.Namespace, &cfg.CertificateRefs[0])
	if bad.ok() {
		bad = r.usableCertificate(at)
	}
	if !bad.ok() {
		r.unresolved(l, "tls.certificateRefs[0]", bad)
		return
	}
	l.credential = at
}

func (r *reader) unresolved(l *listener, field string, f finding) {
	r.say(l.at.At(field), verdict.Waiting, "%s: the listener is not opened", f.message)
	l.resolved = l.resolved.or(f)
}

// asksForCertificates reports whether clients of a port must show certificates; a
// port's own settings replace the default.
func asksForCertificates(f *gatewayv1.FrontendTLSConfig, port int32) bool {
	for _, p := range f.PerPort {
		if p.Port == port {
			return p.TLS.Validation != nil
		}
	}
	return f.Default.Validation != nil
}

// certificateRef finds the Secret that a listener of a Gateway in a namespace names;
// bad where it names something else or may not.
func (x *index) certificateRef(namespace string, ref *gatewayv1.SecretObjectReference) (at key, bad finding) {
	at = key{string(value(ref.Namespace, gatewayv1.Namespace(namespace))), string(ref.Name)}
	group, kind := string(value(ref.Group, "")), string(value(ref.Kind, "Secret"))
	if group != "" || kind != "Secret" {
		return at, finding{string(gatewayv1.ListenerReasonInvalidCertificateRef), fmt.Sprintf("a certificate must be a Secret, not a %s", kind)}
	}
	if !x.permits(reference{fromKind: api.KindGateway, fromNamespace: namespace, kind: kind, to: at}) {
		return at, finding{string(gatewayv1.ListenerReasonRefNotPermitted), fmt.Sprintf("no ReferenceGrant of the namespace %s permits the Secret %s to Gateways of %s", at.namespace, at.name, namespace)}
	}
	return at, finding{}
}

func (r *reader) usableCertificate(at key) finding {
	reason := string(gatewayv1.ListenerReasonInvalidCertificateRef)
	s := r.secrets[at]
	if s == nil {
		return finding{reason, fmt.Sprintf("the Secret %s/%s does not exist", at.namespace, at.name)}
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		// The error says what is wrong, never the key's content.
		return finding{reason, fmt.Sprintf("the Secret %s/%s is no usable TLS credential: %s", at.namespace, at.name, err)}
	}
	return finding{}
}
