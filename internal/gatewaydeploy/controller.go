package gatewaydeploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// resync is how long what was applied is taken to be still there: then it is applied
// again, in case somebody changed it.
const resync = 5 * time.Minute

// classDefaults labels the ConfigMap of the system namespace that holds the parameters
// of a class.
const classDefaults = "gateway.istio.io/defaults-for-class"

// Options make a Controller. Cluster is required.
type Options struct {
	Cluster Cluster
	// Gateways says which Gateways are ours.
	Gateways gatewayapi.Options
	// Namespace is the system namespace, where classes' parameters lie.
	Namespace string
	// Classes are made by the controller, by name, where they do not exist: with the
	// controllerName that each has.
	Classes map[string]string
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Controller keeps Gateways' workloads and statuses. One goroutine uses it, the
// leader's; a replica that becomes the leader makes a new one.
type Controller struct {
	o        Options
	applied  map[types.UID]*done
	written  map[verdict.Ref]*done    // statuses
	classes  time.Time                // when they were last looked at
	problems map[verdict.Ref]*problem // of Gateways
}

// done is what was brought to the cluster. sum is 0 where it could not be told.
type done struct {
	sum uint64
	at  time.Time
}

// still reports whether what was done holds for a sum.
func (d *done) still(sum uint64, now time.Time) bool {
	return d != nil && sum != 0 && d.sum == sum && now.Sub(d.at) < resync
}

// New makes a controller.
func New(o Options) *Controller {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Controller{o: o, applied: map[types.UID]*done{}, written: map[verdict.Ref]*done{}, problems: map[verdict.Ref]*problem{}}
}

// Deploy brings the cluster to what the Gateways among objs need. It does nothing
// where nothing changed, and tries what failed again when it is called again. The error
// joins what failed.
func (c *Controller) Deploy(ctx context.Context, objs []*api.Object) error {
	errs := []error{c.ensureClasses(ctx)}
	live := map[types.UID]bool{}
	problems := map[verdict.Ref]*problem{}
	for _, o := range gatewayapi.Ours(objs, c.o.Gateways) {
		if o.Meta.UID == "" {
			continue // not of a cluster
		}
		live[uid(o)] = true
		if err := c.gateway(ctx, o); err != nil {
			var bad *problem
			if errors.As(err, &bad) {
				problems[o.Ref()] = bad
			}
			errs = append(errs, fmt.Errorf("deploying %s: %w", o.Ref(), err))
		}
	}
	c.problems = problems
	for id := range c.applied {
		if !live[id] {
			delete(c.applied, id) // its objects go with it: it owns them
		}
	}
	return errors.Join(errs...)
}

// problem is what the Gateway's author can mend: its status says it.
type problem struct {
	err error
	// reason of the condition that is not met: InvalidParameters of Accepted, else of
	// Programmed.
	reason gatewayv1.GatewayConditionReason
}

func (e *problem) Error() string { return e.err.Error() }
func (e *problem) Unwrap() error { return e.err }

func badParameters(err error) error {
	return &problem{err, gatewayv1.GatewayReasonInvalidParameters}
}

func (c *Controller) gateway(ctx context.Context, o *api.Object) error {
	g, ok := o.Spec.(*gatewayv1.Gateway)
	if !ok {
		return errors.New("not a Gateway")
	}
	defaults, own, err := c.parameters(ctx, o, g)
	if err != nil {
		return err
	}
	manifests, err := Render(o, Settings{Revision: c.o.Gateways.Revision, Controller: c.controller()}, defaults, own)
	if err != nil {
		return badParameters(err)
	}
	sum := sumOf(manifests)
	old := c.applied[uid(o)]
	if old.still(sum, c.o.Now()) {
		return nil
	}
	for i := range manifests {
		if err := c.apply(ctx, o, &manifests[i]); err != nil {
			return err
		}
	}
	if old == nil || old.sum != sum {
		if err := c.prune(ctx, o, manifests); err != nil {
			return err
		}
		c.o.Log.Info("gateway deployed", "gateway", o.Meta.Name, "namespace", o.Meta.Namespace, "objects", len(manifests))
	}
	c.applied[uid(o)] = &done{sum: sum, at: c.o.Now()}
	return nil
}

// controller is the name that marks what is ours.
func (c *Controller) controller() string {
	if list := c.o.Gateways.Controllers; len(list) > 0 {
		return list[0]
	}
	return gatewayapi.Controller
}

// apply applies one object, unless it exists and is not the Gateway's: nobody loses an
// object to a Gateway that happens to have its name. A ServiceAccount of somebody
// else's may be used.
func (c *Controller) apply(ctx context.Context, o *api.Object, m *Manifest) error {
	there, err := c.o.Cluster.Find(ctx, m.Resource, m.Namespace, m.Name, "")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if len(there) > 0 && !slices.Contains(there[0].Owners, o.Meta.UID) {
		if m.Resource == serviceAccounts {
			return nil
		}
		err := fmt.Errorf("a %s %s/%s exists already and is not the Gateway's; the annotation %s gives another name", m.Resource.Kind, m.Namespace, m.Name, gatewayapi.NameOverride)
		return &problem{err, gatewayv1.GatewayReasonNoResources}
	}
	return c.o.Cluster.Apply(ctx, *m)
}

// prune removes what the Gateway owns and needs no more: under an earlier name, or for
// parameters that are gone.
func (c *Controller) prune(ctx context.Context, o *api.Object, keep []Manifest) error {
	selector := gatewayapi.GatewayNameLabel + "=" + o.Meta.Name
	for _, r := range []Resource{autoscalers, budgets, services, deployments, serviceAccounts} {
		list, err := c.o.Cluster.Find(ctx, r, o.Meta.Namespace, "", selector)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		for _, f := range list {
			needed := slices.ContainsFunc(keep, func(m Manifest) bool { return m.Resource == r && m.Name == f.Name })
			if needed || !slices.Contains(f.Owners, o.Meta.UID) {
				continue
			}
			if err := c.o.Cluster.Delete(ctx, r, o.Meta.Namespace, f); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			c.o.Log.Info("object of a gateway removed", "gateway", o.Meta.Name, "namespace", o.Meta.Namespace, "kind", r.Kind, "name", f.Name)
		}
	}
	return nil
}

// parameters reads the class's parameters and the Gateway's own.
func (c *Controller) parameters(ctx context.Context, o *api.Object, g *gatewayv1.Gateway) (defaults, own Parameters, err error) {
	defaults, err = c.o.Cluster.ConfigMapData(ctx, c.o.Namespace, "", classDefaults+"="+string(g.Spec.GatewayClassName))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, nil, err
	}
	if g.Spec.Infrastructure == nil || g.Spec.Infrastructure.ParametersRef == nil {
		return defaults, nil, nil
	}
	ref := g.Spec.Infrastructure.ParametersRef
	if ref.Group != "" || ref.Kind != "ConfigMap" {
		return nil, nil, badParameters(fmt.Errorf("infrastructure.parametersRef must name a ConfigMap, not a %s", ref.Kind))
	}
	own, err = c.o.Cluster.ConfigMapData(ctx, o.Meta.Namespace, ref.Name, "")
	if errors.Is(err, ErrNotFound) {
		return nil, nil, badParameters(fmt.Errorf("the ConfigMap %s of infrastructure.parametersRef does not exist", ref.Name))
	}
	return defaults, own, err
}

// ensureClasses makes the classes that the mesh comes with, once a resync. Where the
// Gateway API is not installed there is nothing to do.
func (c *Controller) ensureClasses(ctx context.Context) error {
	if len(c.o.Classes) == 0 || c.o.Now().Sub(c.classes) < resync && !c.classes.IsZero() {
		return nil
	}
	for name, controller := range c.o.Classes {
		there, err := c.o.Cluster.Find(ctx, classes, "", name, "")
		if err == nil && len(there) > 0 {
			continue
		}
		if err == nil || errors.Is(err, ErrNotFound) {
			err = c.o.Cluster.Apply(ctx, classManifest(name, controller))
		}
		switch {
		case errors.Is(err, ErrNotFound):
			return nil // the kind is not installed; asked again at the next round
		case err != nil:
			return fmt.Errorf("making the GatewayClass %s: %w", name, err)
		}
	}
	c.classes = c.o.Now()
	return nil
}

func classManifest(name, controller string) Manifest {
	return Manifest{Resource: classes, Name: name, Content: map[string]any{
		"apiVersion": classes.APIVersion(), "kind": classes.Kind,
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"controllerName": controller, "description": "Gateways of the mesh"},
	}}
}

// withProblem adds to a Gateway's status what Deploy has found.
func (c *Controller) withProblem(s gatewayapi.Status) gatewayapi.Status {
	switch p := c.problems[s.Object.Ref()]; {
	case p == nil:
		return s
	case p.reason == gatewayv1.GatewayReasonInvalidParameters:
		return s.Refused(p.reason, p.Error())
	default:
		return s.NotProgrammed(p.reason, p.Error())
	}
}

// WriteStatuses writes the statuses that differ from what was written before, with the
// problems that Deploy has found.
func (c *Controller) WriteStatuses(ctx context.Context, list []gatewayapi.Status) error {
	var errs []error
	seen := make(map[verdict.Ref]bool, len(list))
	for _, s := range list {
		ref := s.Object.Ref()
		seen[ref] = true
		if s.Gateway != nil {
			s = c.withProblem(s)
		}
		sum := sumOf([]any{s.Object.Meta.UID, s.Object.Meta.Generation, s.Class, s.Gateway, s.Route})
		if c.written[ref].still(sum, c.o.Now()) {
			continue
		}
		err := c.o.Cluster.WriteStatus(ctx, s.Object, func(live any) bool { return s.Merge(live, c.o.Now()) })
		switch {
		case errors.Is(err, ErrNotFound): // it is gone; the next list will not have it
		case err != nil:
			errs = append(errs, fmt.Errorf("writing the status of %s: %w", ref, err))
		default:
			c.written[ref] = &done{sum: sum, at: c.o.Now()}
		}
	}
	for ref := range c.written {
		if !seen[ref] {
			delete(c.written, ref)
		}
	}
	return errors.Join(errs...)
}

func uid(o *api.Object) types.UID { return types.UID(o.Meta.UID) }

// sumOf hashes values that encode as JSON, whose maps are sorted; 0 where one does not.
func sumOf(v any) uint64 {
	h := fnv.New64a()
	text, err := json.Marshal(v)
	if err != nil {
		return 0
	}
	_, _ = h.Write(text) // hashes do not fail
	return cmp.Or(h.Sum64(), 1)
}
