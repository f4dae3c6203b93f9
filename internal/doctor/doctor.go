// Package doctor looks at a mesh in a cluster and says what is not as it should
// be, check by check, each with what to do about it. It changes nothing, and works
// before the mesh is installed as well.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/push"
)

// State is the outcome of a check.
type State string

// The states.
const (
	OK      State = "ok"
	Warning State = "warning"
	Failed  State = "failed"
	Skipped State = "skipped" // it cannot be told, or does not apply yet
)

// Result is the outcome of one check.
type Result struct {
	Check   string `json:"check"`
	State   State  `json:"state"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do
}

// Proxies tells the proxies that are connected, and the replicas that serve them.
type Proxies func(ctx context.Context) (list []push.ProxyStatus, replicas int, err error)

// Doctor examines one installation.
type Doctor struct {
	Client *kube.Client
	// Revision is that of the control plane; "" for all.
	Revision string
	Proxies  Proxies
	Now      func() time.Time
}

// check is one named check. Those that need a control plane are skipped without.
type check struct {
	name      string
	installed bool // needs an installation
	run       func(d *Doctor, ctx context.Context, s *seen) []Result
}

// checks are in the order in which they are told: what others rest on first.
var checks = []check{
	{"api-server", false, (*Doctor).apiServer},
	{"crds", false, (*Doctor).definitions},
	{"control-plane", false, (*Doctor).controlPlane},
	{"config-maps", true, (*Doctor).configMaps},
	{"webhooks", true, (*Doctor).webhooks},
	{"root-certificates", true, (*Doctor).roots},
	{"certificate-expiry", true, (*Doctor).expiry},
	{"namespaces", true, (*Doctor).namespaces},
	{"sidecars", true, (*Doctor).sidecars},
	{"proxies", true, (*Doctor).proxies},
	{"ports", false, (*Doctor).ports},
	{"clocks", false, (*Doctor).clocks},
}

// Names lists the checks.
func Names() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// Examine runs all checks. The error says that the cluster cannot be asked at all.
func (d *Doctor) Examine(ctx context.Context) ([]Result, error) {
	s, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	var out []Result
	for _, c := range checks {
		if c.installed && len(s.planes) == 0 {
			out = append(out, Result{c.name, Skipped, "no control plane is installed", ""})
			continue
		}
		results := c.run(d, ctx, s)
		for _, r := range results {
			r.Check = c.name
			out = append(out, r)
		}
	}
	return out, nil
}

// good, one and unless make results; the check's name is set by Examine.
func good(format string, args ...any) []Result {
	return []Result{{State: OK, Message: fmt.Sprintf(format, args...)}}
}

func one(state State, hint, format string, args ...any) Result {
	return Result{State: state, Hint: hint, Message: fmt.Sprintf(format, args...)}
}

// unless gives the results, or a good one where there are none.
func unless(list []Result, format string, args ...any) []Result {
	if len(list) > 0 {
		return list
	}
	return good(format, args...)
}
