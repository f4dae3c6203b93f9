package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/kube"
)

// Options say how a control plane of Kubernetes runs. Addresses are "host:port";
// an empty host listens on all.
type Options struct {
	Kubeconfig string // "": the pod's service account
	Context    string // of the kubeconfig
	Namespace  string // system namespace; default istio-system
	Revision   string // default "default"
	ClusterID  string // default "Kubernetes"
	// SharedMeshConfig is a ConfigMap of the system namespace below the revision's own;
	// "": none.
	SharedMeshConfig string
	// TrustDomain wins over that of MeshConfig where it is set.
	TrustDomain string

	XDSAddr     string // TLS; default ":15012"
	PlainAddr   string // xDS without TLS and without secrets; "": not
	DebugAddr   string // metrics and debug; default ":15014"
	WebhookAddr string // default ":15017"
	HealthAddr  string // default ":8080"

	// TLSMinVersion is "1.2" (default) or "1.3"; TLSCipherSuites are names as
	// crypto/tls has them, for TLS 1.2; none: Go's choice.
	TLSMinVersion   string
	TLSCipherSuites []string

	// Audiences that a proxy's token may be for; default istio-ca.
	Audiences []string
	// CertificateLifetime of workloads (default 24 h), and the longest that they may
	// ask for (default 90 days).
	CertificateLifetime, LongestLifetime time.Duration
	// Signer is one of Kubernetes' signers ("DOMAIN/NAME") that makes all
	// certificates in place of keys of our own.
	Signer string
	// Names are further DNS names of the control plane's certificate.
	Names []string

	// Validation serves /validate and keeps its webhook failing closed once it does.
	Validation bool
	// ManageWebhooks writes the CA bundle into the webhooks that call this control
	// plane.
	ManageWebhooks bool
	// RepairDelete evicts pods that should have a sidecar and have none, so that their
	// owner makes new ones; without it they are reported only.
	RepairDelete bool
	// GatewayController deploys the Gateway API's gateways; IstioClass serves the
	// GatewayClass "istio" besides "lateen".
	GatewayController bool
	IstioClass        bool

	// Leave is what a replica that ends gives its proxies to go elsewhere.
	Leave Leave

	Version string
	Log     *slog.Logger
}

// Leave says how a replica ends, all within the pod's termination grace period.
type Leave struct {
	// Notice is how long new callers are still served, while the cluster learns that
	// this replica is not ready any more; default 3 s.
	Notice time.Duration
	// Spread is within what the proxies' streams end, one after the other; default 8 s.
	Spread time.Duration
	// Rest is what answers in the making get after that; default 5 s.
	Rest time.Duration
}

// withDefaults fills in what is not said, and checks the rest.
func (o Options) withDefaults() (Options, error) {
	text := func(v *string, def string) {
		if *v == "" {
			*v = def
		}
	}
	text(&o.Namespace, kube.DefaultNamespace)
	text(&o.Revision, kube.DefaultRevision)
	text(&o.ClusterID, "Kubernetes")
	text(&o.XDSAddr, ":15012")
	text(&o.DebugAddr, ":15014")
	text(&o.WebhookAddr, ":15017")
	text(&o.HealthAddr, ":8080")
	text(&o.TLSMinVersion, "1.2")
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{
		{&o.CertificateLifetime, ca.DefaultLifetime}, {&o.LongestLifetime, ca.LongestLifetime},
		{&o.Leave.Notice, 3 * time.Second}, {&o.Leave.Spread, 8 * time.Second}, {&o.Leave.Rest, 5 * time.Second},
	} {
		if *d.to == 0 {
			*d.to = d.def
		}
	}
	if len(o.Audiences) == 0 {
		o.Audiences = []string{TokenAudience}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CertificateLifetime > o.LongestLifetime {
		return o, fmt.Errorf("workloads' certificates live for %s, and may not ask for more than %s", o.CertificateLifetime, o.LongestLifetime)
	}
	_, err := o.tlsTemplate()
	return o, err
}

// tlsTemplate holds the versions and ciphers of all servers.
func (o Options) tlsTemplate() (*tls.Config, error) {
	c := &tls.Config{}
	switch o.TLSMinVersion {
	case "1.2":
		c.MinVersion = tls.VersionTLS12
	case "1.3":
		c.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("the least version of TLS is %q, want 1.2 or 1.3", o.TLSMinVersion)
	}
	for _, name := range o.TLSCipherSuites {
		suites := tls.CipherSuites() // without the insecure ones
		i := slices.IndexFunc(suites, func(s *tls.CipherSuite) bool { return s.Name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("the cipher suite %q is not known, or is insecure", name)
		}
		c.CipherSuites = append(c.CipherSuites, suites[i].ID)
	}
	if len(c.CipherSuites) > 0 && c.MinVersion == tls.VersionTLS13 {
		return nil, errors.New("the cipher suites of TLS 1.3 cannot be chosen; leave them out, or allow TLS 1.2")
	}
	return c, nil
}

// serviceName is the name of the control plane's Service.
func (o Options) serviceName() string {
	if o.Revision == kube.DefaultRevision {
		return "istiod"
	}
	return "istiod-" + o.Revision
}

// serverNames are the DNS names that the control plane is called by. The default
// revision's name is good for all: discovery addresses name it, and tags move.
func (o Options) serverNames() []string {
	var names []string
	for _, service := range slices.Compact([]string{"istiod", o.serviceName(), "istio-pilot"}) {
		host := service + "." + o.Namespace
		names = append(names, host+".svc", host, host+".svc.cluster.local")
	}
	for _, n := range o.Names {
		if n = strings.TrimSpace(n); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
