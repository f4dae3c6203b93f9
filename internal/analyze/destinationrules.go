package analyze

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// serverCertificates finds TLS to hosts whose certificates are checked against no
// authority that the rule names.
func serverCertificates(w *world) {
	open := func(t *networking.ClientTLSSettings) bool {
		tls := t.GetMode() == networking.ClientTLSSettings_SIMPLE || t.GetMode() == networking.ClientTLSSettings_MUTUAL
		return tls && t.CaCertificates == "" && t.CredentialName == ""
	}
	each(w, func(o *api.Object, d *networking.DestinationRule) {
		policy := func(path string, p *networking.TrafficPolicy) {
			if t := p.GetTls(); open(t) {
				w.say("IST0128", o, path+".tls", d.Host, t.Mode)
			}
			for i, l := range p.GetPortLevelSettings() {
				if t := l.GetTls(); open(t) {
					w.say("IST0129", o, fmt.Sprintf("%s.portLevelSettings[%d].tls", path, i), l.GetPort().GetNumber(), d.Host, t.Mode)
				}
			}
		}
		policy("spec.trafficPolicy", d.TrafficPolicy)
		for i, s := range d.Subsets {
			policy(fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s.TrafficPolicy)
		}
	})
}

// mtlsConflicts finds DestinationRules that call a host in plain text whose
// workloads take mutual TLS only, and the other way round.
func mtlsConflicts(w *world) {
	each(w, func(o *api.Object, d *networking.DestinationRule) {
		mode := d.GetTrafficPolicy().GetTls()
		s := w.service(d.Host, o.Meta.Namespace)
		if mode == nil || s == nil || len(s.Spec.Selector) == 0 {
			return
		}
		by, asked := w.peerMode(s.Namespace, s.Spec.Selector)
		plain := mode.Mode == networking.ClientTLSSettings_DISABLE && asked == security.PeerAuthentication_MutualTLS_STRICT
		mutual := mode.Mode == networking.ClientTLSSettings_ISTIO_MUTUAL && asked == security.PeerAuthentication_MutualTLS_DISABLE
		if plain || mutual {
			w.say("IST0113", o, "spec.trafficPolicy.tls.mode", d.Host, mode.Mode, by, asked)
		}
	})
}

// peerMode is the mode that holds for workloads with the labels, and what sets it:
// the oldest policy of the narrowest scope.
func (w *world) peerMode(namespace string, labels map[string]string) (by verdict.Ref, mode security.PeerAuthentication_MutualTLS_Mode) {
	best := 0
	each(w, func(o *api.Object, p *security.PeerAuthentication) {
		scope := 0
		switch match := p.GetSelector().GetMatchLabels(); {
		case len(match) > 0 && o.Meta.Namespace == namespace && registry.Matches(match, labels):
			scope = 3
		case len(match) > 0:
		case o.Meta.Namespace == namespace:
			scope = 2
		case o.Meta.Namespace == w.root:
			scope = 1
		}
		if m := p.GetMtls().GetMode(); scope > best && m != security.PeerAuthentication_MutualTLS_UNSET {
			best, by, mode = scope, o.Ref(), m
		}
	})
	return by, mode
}
