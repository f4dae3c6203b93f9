package gatewaydeploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
)

// cluster is a Cluster in memory that notes what is done to it.
type cluster struct {
	objects map[string]Found // by "plural namespace/name"
	labels  map[string]string
	maps    map[string]map[string]string // ConfigMaps by "namespace/name"
	live    map[string]any               // objects with statuses, by ref
	log     []string
	fail    error
	noKinds bool // the Gateway API is not installed
}

func newCluster() *cluster {
	return &cluster{objects: map[string]Found{}, labels: map[string]string{}, maps: map[string]map[string]string{}, live: map[string]any{}}
}

func at(r Resource, namespace, name string) string { return r.Plural + " " + namespace + "/" + name }

func (c *cluster) Apply(_ context.Context, m Manifest) error {
	if c.fail != nil {
		return c.fail
	}
	if m.Resource == classes && c.noKinds {
		return ErrNotFound
	}
	key := at(m.Resource, m.Namespace, m.Name)
	c.log = append(c.log, "apply "+key)
	f := Found{Name: m.Name, UID: "uid " + key}
	if meta, ok := m.Content["metadata"].(map[string]any); ok {
		if owners, ok := meta["ownerReferences"].([]any); ok {
			for _, o := range owners {
				f.Owners = append(f.Owners, o.(map[string]any)["uid"].(string))
			}
		}
		if l, ok := meta["labels"].(map[string]any); ok {
			c.labels[key], _ = l[gatewayapi.GatewayNameLabel].(string)
		}
	}
	c.objects[key] = f
	return nil
}

func (c *cluster) Find(_ context.Context, r Resource, namespace, name, selector string) ([]Found, error) {
	if r == classes && c.noKinds {
		return nil, ErrNotFound
	}
	if name != "" {
		if f, ok := c.objects[at(r, namespace, name)]; ok {
			return []Found{f}, nil
		}
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	var out []Found
	for key, f := range c.objects {
		if strings.HasPrefix(key, r.Plural+" "+namespace+"/") && selector == gatewayapi.GatewayNameLabel+"="+c.labels[key] {
			out = append(out, f)
		}
	}
	return out, nil
}

func (c *cluster) Delete(_ context.Context, r Resource, namespace string, f Found) error {
	key := at(r, namespace, f.Name)
	c.log = append(c.log, "delete "+key)
	delete(c.objects, key)
	return nil
}

func (c *cluster) ConfigMapData(_ context.Context, namespace, name, selector string) (map[string]string, error) {
	if m, ok := c.maps[namespace+"/"+name+selector]; ok {
		return m, nil
	}
	return nil, ErrNotFound
}

func (c *cluster) WriteStatus(_ context.Context, o *api.Object, change func(live any) bool) error {
	if c.fail != nil {
		return c.fail
	}
	live, ok := c.live[o.Ref().String()]
	if !ok {
		return ErrNotFound
	}
	if change(live) {
		c.log = append(c.log, "status "+o.Ref().String())
	}
	return nil
}

// did gives what was done since it was last asked, sorted.
func (c *cluster) did() []string {
	out := c.log
	c.log = nil
	slices.Sort(out)
	return out
}

const gatewayYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: lateen}
spec: {controllerName: lateen.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  gatewayClassName: lateen
  listeners: [{name: http, port: 80, protocol: HTTP}]
`

func objects(t *testing.T, text string) []*api.Object {
	t.Helper()
	list := decode(t, text)
	for _, o := range list {
		o.Meta.UID, o.Meta.Generation = "uid "+o.Ref().String(), 1
	}
	return list
}

func newController(c *cluster, now *time.Time) *Controller {
	return New(Options{
		Cluster: c, Gateways: gatewayapi.Options{Deployed: true}, Namespace: "istio-system", Now: func() time.Time { return *now },
		Classes: map[string]string{"lateen": gatewayapi.Controller},
	})
}

var shopObjects = []string{"apply deployments default/shop-lateen", "apply serviceaccounts default/shop-lateen", "apply services default/shop-lateen"}

func deploy(t *testing.T, k *Controller, c *cluster, objs []*api.Object, want ...string) {
	t.Helper()
	if err := k.Deploy(t.Context(), objs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.did()); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

// TestDeploy follows one Gateway from its making to its end.
func TestDeploy(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCluster()
	k := newController(c, &now)
	objs := objects(t, gatewayYAML)
	deploy(t, k, c, objs, append([]string{"apply deployments default/shop-lateen", "apply gatewayclasses /lateen"}, shopObjects[1:]...)...)
	deploy(t, k, c, objs) // nothing changed

	now = now.Add(resync)
	deploy(t, k, c, objs, shopObjects...)

	c.maps["istio-system/gateway.istio.io/defaults-for-class=lateen"] = map[string]string{"podDisruptionBudget": "spec: {minAvailable: 1}"}
	deploy(t, k, c, objs, "apply deployments default/shop-lateen", "apply poddisruptionbudgets default/shop-lateen", shopObjects[1], shopObjects[2])
	delete(c.maps, "istio-system/gateway.istio.io/defaults-for-class=lateen")
	deploy(t, k, c, objs, append(slices.Clone(shopObjects), "delete poddisruptionbudgets default/shop-lateen")...)

	objs[1].Meta.Annotations = map[string]string{gatewayapi.NameOverride: "front"}
	deploy(t, k, c, objs,
		"apply deployments default/front", "apply serviceaccounts default/front", "apply services default/front",
		"delete deployments default/shop-lateen", "delete serviceaccounts default/shop-lateen", "delete services default/shop-lateen")

	deploy(t, k, c, objs[:1]) // the API server's garbage collection removes what it owned
	if len(k.applied) != 0 {
		t.Error("a Gateway that is gone is remembered")
	}
}

// TestDeployTriesAgain: what failed is done at the next round.
func TestDeployTriesAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCluster()
	c.fail = errors.New("the API server is away")
	k := newController(c, &now)
	objs := objects(t, gatewayYAML)
	if err := k.Deploy(t.Context(), objs); err == nil || !strings.Contains(err.Error(), "is away") {
		t.Fatalf("%v", err)
	}
	c.fail = nil
	deploy(t, k, c, objs, append([]string{"apply deployments default/shop-lateen", "apply gatewayclasses /lateen"}, shopObjects[1:]...)...)
}

// TestOthersObjects: what somebody else made is not taken over, and a ServiceAccount of
// theirs is used as it is.
func TestOthersObjects(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		at  Resource
		bad bool
	}{{services, true}, {deployments, true}, {serviceAccounts, false}} {
		t.Run(c.at.Plural, func(t *testing.T) {
			cl := newCluster()
			cl.objects[at(c.at, "default", "shop-lateen")] = Found{Name: "shop-lateen", UID: "theirs"}
			k := newController(cl, &now)
			err := k.Deploy(t.Context(), objects(t, gatewayYAML))
			if (err != nil) != c.bad || c.bad && !strings.Contains(err.Error(), "is not the Gateway's") {
				t.Errorf("%v", err)
			}
			if _, list, _ := gatewayapi.Read(objects(t, gatewayYAML), gatewayapi.Options{Deployed: true}); c.bad {
				cl.live = map[string]any{api.RefGateway + " default/shop": &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Generation: 1}}}
				if err := k.WriteStatuses(t.Context(), list); err != nil {
					t.Fatal(err)
				}
				if got := reasons(cl.live[api.RefGateway+" default/shop"].(*gatewayv1.Gateway).Status.Conditions); !strings.Contains(got, "Programmed=NoResources") {
					t.Errorf("status: %s", got)
				}
			}
			if slices.Contains(cl.did(), "apply "+at(c.at, "default", "shop-lateen")) {
				t.Error("it was taken over")
			}
		})
	}
}

// TestWithoutTheGatewayAPI: a cluster without its kinds is no error.
func TestWithoutTheGatewayAPI(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCluster()
	c.noKinds = true
	k := newController(c, &now)
	deploy(t, k, c, nil)
	c.noKinds = false // they are installed
	deploy(t, k, c, nil, "apply gatewayclasses /lateen")
}

// TestStatuses: statuses are written once, with the problems of parameters, and other
// controllers' conditions and parents stay.
func TestStatuses(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCluster()
	k := newController(c, &now)
	objs := objects(t, gatewayYAML+`
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: lost}
spec:
  gatewayClassName: lateen
  infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: nobody}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: shop}]}
`)
	theirs := gatewayv1.RouteParentStatus{ControllerName: "example.com/other", ParentRef: gatewayv1.ParentReference{Name: "x"}}
	stale := gatewayv1.RouteParentStatus{ControllerName: gatewayapi.Controller, ParentRef: gatewayv1.ParentReference{Name: "gone"}}
	route := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	route.Status.Parents = []gatewayv1.RouteParentStatus{stale, theirs}
	shop := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	shop.Status.Conditions = []metav1.Condition{{Type: "example.com/Mine", Status: "True"}, {Type: "Accepted", Status: "Unknown", Reason: "Pending"}}
	lost := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	c.live = map[string]any{
		"GatewayClass lateen": &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Generation: 1}}, "HTTPRoute default/r": route,
		api.RefGateway + " default/shop": shop, api.RefGateway + " default/lost": lost,
	}
	if err := k.Deploy(t.Context(), objs); err == nil || !strings.Contains(err.Error(), "the ConfigMap nobody") {
		t.Fatalf("%v", err)
	}
	c.did()
	_, list, _ := gatewayapi.Read(objs, gatewayapi.Options{Deployed: true})
	write := func(want int) {
		t.Helper()
		if err := k.WriteStatuses(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if got := c.did(); len(got) != want {
			t.Errorf("%d statuses written, want %d: %v", len(got), want, got)
		}
	}
	write(4)
	write(0)
	if p := route.Status.Parents; len(p) != 2 || p[0].ControllerName != "example.com/other" || p[1].ParentRef.Name != "shop" || p[1].Conditions[0].Type != "Accepted" {
		t.Errorf("parents: %+v", p)
	}
	if got := reasons(shop.Status.Conditions); got != "example.com/Mine= Accepted=Accepted Programmed=AddressNotAssigned ResolvedRefs=ResolvedRefs" {
		t.Errorf("shop: %s", got)
	}
	if got := reasons(lost.Status.Conditions); got != "Accepted=InvalidParameters Programmed=Invalid ResolvedRefs=ResolvedRefs" {
		t.Errorf("lost: %s", got)
	}

	// A condition that keeps its status keeps its time.
	first := shop.Status.Conditions[1].LastTransitionTime
	now = now.Add(resync)
	shop.Status.Listeners = nil // somebody wrote
	write(1)
	if len(shop.Status.Listeners) != 1 || !shop.Status.Conditions[1].LastTransitionTime.Equal(&first) {
		t.Errorf("written again: %+v", shop.Status)
	}

	// What was read of an older generation says nothing of the newer one.
	now = now.Add(resync)
	shop.Generation, shop.Status.Listeners = 2, nil
	write(0)
}

func reasons(list []metav1.Condition) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Type+"="+c.Reason)
	}
	return strings.Join(out, " ")
}
