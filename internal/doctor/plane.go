package doctor

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/lateen-mesh/lateen/internal/api"
)

// oldest is the oldest Kubernetes that the mesh runs on: native sidecars are on by
// default from there.
const oldest = "1.29"

func (d *Doctor) apiServer(_ context.Context, s *seen) []Result {
	v, err := version.ParseGeneric(s.version)
	if err != nil {
		return []Result{one(Warning, "", "the API server calls its version %q", s.version)}
	}
	if v.LessThan(version.MustParseGeneric(oldest)) {
		return []Result{one(Failed, "upgrade Kubernetes", "Kubernetes %s is older than %s, the oldest that the mesh runs on", s.version, oldest)}
	}
	return good("Kubernetes %s answers", s.version)
}

// definitions looks for the kinds that the mesh acts on.
func (d *Doctor) definitions(_ context.Context, s *seen) []Result {
	var missing, gateway []string
	count := 0
	for _, k := range api.Kinds() {
		name := k.Plural + "." + k.Group
		switch {
		case !strings.HasSuffix(k.Group, "istio.io") && k.Group != "gateway.networking.k8s.io":
			continue
		case s.kinds[name]:
			count++
		case k.Group == "gateway.networking.k8s.io":
			gateway = append(gateway, k.Name)
		default:
			missing = append(missing, k.Name)
		}
	}
	var out []Result
	if len(missing) > 0 {
		state := Failed
		if len(s.planes) == 0 {
			state = Skipped
		}
		out = append(out, one(state, "`lateen install` brings them", "the cluster does not know the kinds %s", strings.Join(missing, ", ")))
	}
	if len(gateway) > 0 {
		out = append(out, one(Skipped, "install the Gateway API's definitions if you want them", "the cluster does not know the Gateway API's kinds %s", strings.Join(gateway, ", ")))
	}
	return unless(out, "all %d kinds are defined", count)
}

func (d *Doctor) controlPlane(_ context.Context, s *seen) []Result {
	if len(s.planes) == 0 {
		return []Result{one(Skipped, "`lateen install`", "no control plane in the namespace %s", d.Client.Namespace())}
	}
	total, up := map[string]int{}, map[string]int{}
	var out []Result
	for _, p := range s.planes {
		if over(&p) {
			continue
		}
		rev := p.Labels[revisionLabel]
		total[rev]++
		if ready(&p) {
			up[rev]++
			continue
		}
		why := string(p.Status.Phase)
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil {
				why = c.State.Waiting.Reason
			}
		}
		out = append(out, one(Warning, "kubectl -n "+p.Namespace+" describe pod "+p.Name, "the replica %s is not ready: %s", p.Name, why))
	}
	var revisions []string
	for rev := range total {
		revisions = append(revisions, rev)
	}
	slices.Sort(revisions)
	for _, rev := range revisions {
		switch {
		case up[rev] == 0:
			out = append(out, one(Failed, "kubectl -n "+d.Client.Namespace()+" get pods -l app=istiod", "no replica of the control plane of the revision %q is ready", rev))
		case total[rev] == 1:
			out = append(out, one(Warning, "set replicas to 2 or more, so that one may fail", "the control plane of the revision %q has a single replica", rev))
		}
	}
	return unless(out, "%d replicas are ready, of the revisions %s", len(s.planes), strings.Join(revisions, ", "))
}

// suffix is what a revision adds to names.
func suffix(revision string) string {
	if revision == "" || revision == "default" {
		return ""
	}
	return "-" + revision
}

func (d *Doctor) configMaps(_ context.Context, s *seen) []Result {
	var out []Result
	for _, p := range s.planes {
		for name, key := range map[string]string{meshMap: "mesh", injectorMap: "config"} {
			full := name + suffix(p.Labels[revisionLabel])
			if s.maps[full].Data[key] == "" {
				out = append(out, one(Failed, "`lateen install` brings it", "the ConfigMap %s in %s has no key %s", full, d.Client.Namespace(), key))
			}
		}
	}
	slices.SortFunc(out, func(a, b Result) int { return strings.Compare(a.Message, b.Message) })
	return unless(slices.Compact(out), "the mesh's and the injector's configurations are there")
}

// webhooks holds what the API server calls against what is there: the service, and
// the roots that its certificate is checked with.
func (d *Doctor) webhooks(_ context.Context, s *seen) []Result {
	var out []Result
	injectors := 0
	for _, c := range s.mutating {
		if !strings.HasPrefix(c.Name, "istio-sidecar-injector") && !strings.HasPrefix(c.Name, "istio-revision-tag") {
			continue
		}
		injectors++
		for _, h := range c.Webhooks {
			out = append(out, d.webhook(s, c.Name, h.Name, h.ClientConfig)...)
		}
	}
	if injectors == 0 {
		out = append(out, one(Failed, "`lateen install` brings it; without it no pod gets a proxy", "there is no webhook configuration for injection"))
	}
	for _, c := range s.validating {
		if !strings.HasPrefix(c.Name, "istio-validator") {
			continue
		}
		for _, h := range c.Webhooks {
			out = append(out, d.webhook(s, c.Name, h.Name, h.ClientConfig)...)
		}
	}
	return unless(out, "the webhooks' services and certificates fit")
}

func (d *Doctor) webhook(s *seen, config, hook string, c admission.WebhookClientConfig) []Result {
	if c.Service == nil || c.Service.Namespace != d.Client.Namespace() {
		return nil // another installation's, or one outside the cluster
	}
	where := config + " (" + hook + ")"
	served := false
	for _, svc := range s.services {
		served = served || svc.Namespace == c.Service.Namespace && svc.Name == c.Service.Name
	}
	switch {
	case !served:
		return []Result{one(Failed, "remove the webhook configuration if the control plane is gone", "%s calls the service %s/%s, which does not exist", where, c.Service.Namespace, c.Service.Name)}
	case len(c.CABundle) == 0:
		return []Result{one(Failed, "the control plane's leader sets it; look at its log", "%s has no caBundle: the API server cannot check the webhook's certificate", where)}
	case !sharesRoot(c.CABundle, []byte(s.roots[d.Client.Namespace()])):
		return []Result{one(Failed, "the control plane's leader sets it; look at its log", "%s has a caBundle that is not of this mesh's root", where)}
	}
	return nil
}

// sharesRoot reports whether two bundles have a certificate in common; a mesh whose
// root is not known is given the benefit of the doubt.
func sharesRoot(a, b []byte) bool {
	x, y := certificates(a), certificates(b)
	if len(y) == 0 {
		return true
	}
	return slices.ContainsFunc(x, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(y, func(o *x509.Certificate) bool { return bytes.Equal(c.Raw, o.Raw) })
	})
}

// certificates reads the certificates of a bundle that can be read.
func certificates(text []byte) (out []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
}

func (d *Doctor) expiry(_ context.Context, s *seen) []Result {
	root := certificates([]byte(s.roots[d.Client.Namespace()]))
	if len(root) == 0 {
		return []Result{one(Failed, "the control plane's leader writes it; look at its log", "the ConfigMap %s in %s holds no certificate", rootMap, d.Client.Namespace())}
	}
	var out []Result
	last := time.Time{}
	for _, c := range root {
		left := c.NotAfter.Sub(d.Now())
		if c.NotAfter.After(last) {
			last = c.NotAfter
		}
		switch {
		case left < 0:
			out = append(out, one(Failed, "renew the authority (Secret cacerts or istio-ca-secret)", "the root %s expired on %s", c.Subject, c.NotAfter.UTC().Format(time.DateOnly)))
		case left < 30*24*time.Hour:
			out = append(out, one(Warning, "renew the authority (Secret cacerts or istio-ca-secret)", "the root %s expires on %s", c.Subject, c.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	return unless(out, "the root holds until %s", last.UTC().Format(time.DateOnly))
}

// clocks holds the clocks of nodes, and that of this machine, against each other:
// certificates of the mesh hold from their first second.
func (d *Doctor) clocks(ctx context.Context, _ *seen) []Result {
	ahead, behind, err := d.skew(ctx)
	if errors.Is(err, errNoLeases) {
		return []Result{one(Skipped, "", "the nodes keep no leases to read their clocks from")}
	}
	if err != nil {
		return []Result{one(Skipped, "", "the nodes' leases cannot be read: %v", err)}
	}
	var out []Result
	for _, list := range [][]string{ahead, behind} {
		for _, text := range list {
			out = append(out, one(Warning, "synchronise the clocks: certificates of the mesh are not valid before they are made", "%s", text))
		}
	}
	return unless(out, "the clocks of the nodes and of this machine agree")
}

var errNoLeases = errors.New("no leases")

// The bounds of what a renewed lease may show: kubelet renews every 10 s.
const (
	maxAhead  = 10 * time.Second
	maxBehind = 2 * time.Minute
)

func describeSkew(node string, by time.Duration) string {
	if by > 0 {
		return fmt.Sprintf("the clock of the node %s is %s ahead of this machine's", node, by.Round(time.Second))
	}
	return fmt.Sprintf("the node %s renewed its lease %s ago by this machine's clock: it is gone, or its clock is behind", node, (-by).Round(time.Second))
}
