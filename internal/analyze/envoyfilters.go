package analyze

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/api"
)

// patchOperations finds operations that have no effect, or one that depends on the
// order of filters.
func patchOperations(w *world) {
	each(w, func(o *api.Object, f *networking.EnvoyFilter) {
		for i, p := range f.ConfigPatches {
			path := fmt.Sprintf("spec.configPatches[%d].patch.operation", i)
			op := p.GetPatch().GetOperation()
			routes := p.ApplyTo == networking.EnvoyFilter_ROUTE_CONFIGURATION || p.ApplyTo == networking.EnvoyFilter_HTTP_ROUTE
			filters := p.ApplyTo == networking.EnvoyFilter_HTTP_FILTER || p.ApplyTo == networking.EnvoyFilter_NETWORK_FILTER
			switch {
			case op == networking.EnvoyFilter_Patch_REPLACE && !filters:
				w.say("IST0152", o, path, p.ApplyTo)
			case op == networking.EnvoyFilter_Patch_ADD && routes:
				w.say("IST0153", o, path, p.ApplyTo)
			case op == networking.EnvoyFilter_Patch_REMOVE && routes:
				w.say("IST0154", o, path, p.ApplyTo)
			}
			if f.Priority != 0 || !relative(op) {
				continue
			}
			if p.GetMatch().GetProxy().GetProxyVersion() != "" {
				w.say("IST0155", o, path, op)
			} else {
				w.say("IST0151", o, path, op)
			}
		}
	})
}

// relative operations need what another filter has made.
func relative(op networking.EnvoyFilter_Patch_Operation) bool {
	switch op {
	case networking.EnvoyFilter_Patch_MERGE, networking.EnvoyFilter_Patch_REMOVE, networking.EnvoyFilter_Patch_INSERT_BEFORE,
		networking.EnvoyFilter_Patch_INSERT_AFTER, networking.EnvoyFilter_Patch_REPLACE, networking.EnvoyFilter_Patch_MERGE_AND_REPLACE_LIST:
		return true
	}
	return false
}
