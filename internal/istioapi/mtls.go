package istioapi

import (
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func (r *reader) peerAuthentication(o *api.Object, meta mesh.Meta, in *security.PeerAuthentication) {
	out := mesh.MTLSPolicy{
		Meta:      meta,
		Namespace: o.Meta.Namespace,
		Name:      o.Meta.Name,
		Selector:  in.GetSelector().GetMatchLabels(),
		Mode:      mtlsMode(in.GetMtls().GetMode()),
	}
	spec := meta.Origin.At("spec")
	valid := true
	if len(in.PortLevelMtls) > 0 && len(out.Selector) == 0 {
		r.say(spec.At("portLevelMtls"), verdict.Invalid, "port-level modes need a selector")
		valid = false
	}
	for port, m := range in.PortLevelMtls {
		switch {
		case port == 0 || port > 65535:
			r.say(spec.At("portLevelMtls"), verdict.Invalid, "the port %d is out of range", port)
			valid = false
		case len(out.Selector) > 0:
			if out.Ports == nil {
				out.Ports = map[uint16]mesh.MTLSMode{}
			}
			out.Ports[uint16(port)] = mtlsMode(m.GetMode())
		}
	}
	if !valid {
		// It must not take the place of a policy that is right and stricter, nor make
		// exceptions: of an invalid policy only STRICT counts.
		if out.Mode != mesh.Strict {
			r.say(meta.Origin, verdict.Invalid, "the policy is not in force: what holds for the wider scope holds")
			return
		}
		out.Ports = nil
	}
	r.cfg.MTLS = append(r.cfg.MTLS, out)
}

func mtlsMode(m security.PeerAuthentication_MutualTLS_Mode) mesh.MTLSMode {
	switch m {
	case security.PeerAuthentication_MutualTLS_STRICT:
		return mesh.Strict
	case security.PeerAuthentication_MutualTLS_PERMISSIVE:
		return mesh.Permissive
	case security.PeerAuthentication_MutualTLS_DISABLE:
		return mesh.Disable
	}
	return mesh.Unset
}
