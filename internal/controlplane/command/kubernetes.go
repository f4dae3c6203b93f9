package command

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/controlplane/cluster"
)

// clusterFlags are those of a control plane of Kubernetes.
func clusterFlags(f *pflag.FlagSet, o *cluster.Options) {
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig file (default: the pod's service account)")
	f.StringVar(&o.Context, "context", "", "context of the kubeconfig")
	f.StringVar(&o.Namespace, "namespace", "", "system namespace (default $POD_NAMESPACE, or istio-system)")
	f.StringVar(&o.Revision, "revision", "", "revision of this control plane (default $REVISION, or default)")
	f.StringVar(&o.ClusterID, "cluster-id", "", "name of the cluster (default $CLUSTER_ID, or Kubernetes)")
	f.StringVar(&o.SharedMeshConfig, "shared-mesh-config", "", "ConfigMap of the system namespace with mesh configuration for all revisions (default $SHARED_MESH_CONFIG)")
	f.StringVar(&o.XDSAddr, "xds-address", "", "address for xDS and certificates over TLS (default :15012)")
	f.StringVar(&o.WebhookAddr, "webhook-address", "", "address for webhooks over TLS (default :15017)")
	f.StringVar(&o.HealthAddr, "health-address", "", "address for /ready and /live (default :8080)")
	f.StringVar(&o.TLSMinVersion, "tls-min-version", "", "least version of TLS of all servers: 1.2 (default) or 1.3")
	f.StringSliceVar(&o.TLSCipherSuites, "tls-cipher-suites", nil, "cipher suites for TLS 1.2, by Go's names (default: Go's choice)")
	f.StringSliceVar(&o.Audiences, "token-audiences", nil, "audiences of proxies' tokens (default istio-ca)")
	f.DurationVar(&o.LongestLifetime, "longest-certificate-lifetime", 0, "what workloads may ask for (default 2160h)")
	f.StringVar(&o.Signer, "kubernetes-signer", "", "signer of Kubernetes, DOMAIN/NAME, that makes all certificates (default: the mesh's own keys)")
	f.StringSliceVar(&o.Names, "server-names", nil, "further DNS names of the control plane's certificate")
}

// Variables of the environment, as Istio's charts and users set them.
const (
	envNamespace   = "POD_NAMESPACE"
	envRevision    = "REVISION"
	envCluster     = "CLUSTER_ID"
	envSharedMesh  = "SHARED_MESH_CONFIG"
	envTrustDomain = "TRUST_DOMAIN"
	envNames       = "ISTIOD_CUSTOM_HOST"
	envAudiences   = "TOKEN_AUDIENCES"
	envLifetime    = "DEFAULT_WORKLOAD_CERT_TTL"
	envLongest     = "MAX_WORKLOAD_CERT_TTL"
	envExternalCA  = "EXTERNAL_CA"
	envSigner      = "K8S_SIGNER"

	envValidation = "VALIDATION_WEBHOOK"
	envManage     = "MANAGE_WEBHOOKS"
	envRepair     = "REPAIR_DELETE_PODS"
	envGateways   = "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER"
	envIstioClass = "GATEWAY_CLASS_ISTIO"

	kubernetesCA = "ISTIOD_RA_KUBERNETES_API"
)

// fromEnvironment fills in what no flag says.
func fromEnvironment(o *cluster.Options, f *pflag.FlagSet, lookup func(string) (string, bool)) error {
	get := func(name string) string { v, _ := lookup(name); return v }
	// The flag that stands for a variable wins over it.
	for _, x := range []struct{ flag, variable string }{
		{"namespace", envNamespace}, {"revision", envRevision}, {"cluster-id", envCluster}, {"shared-mesh-config", envSharedMesh}, {"trust-domain", envTrustDomain},
		{"server-names", envNames}, {"token-audiences", envAudiences}, {"certificate-lifetime", envLifetime}, {"longest-certificate-lifetime", envLongest},
	} {
		if v := get(x.variable); v != "" && !f.Changed(x.flag) {
			if err := f.Set(x.flag, v); err != nil {
				return fmt.Errorf("%s: %w", x.variable, err)
			}
		}
	}
	if o.Signer == "" {
		switch external := get(envExternalCA); external {
		case "":
		case kubernetesCA:
			if o.Signer = get(envSigner); o.Signer == "" {
				return fmt.Errorf("%s=%s needs a signer in %s", envExternalCA, external, envSigner)
			}
		default:
			return fmt.Errorf("%s=%q is not supported, only %s is", envExternalCA, external, kubernetesCA)
		}
	}
	for _, x := range []struct {
		variable string
		def      bool
		to       *bool
	}{
		{envValidation, true, &o.Validation}, {envManage, true, &o.ManageWebhooks}, {envRepair, false, &o.RepairDelete},
		{envGateways, true, &o.GatewayController}, {envIstioClass, false, &o.IstioClass},
	} {
		*x.to = x.def
		if v := strings.TrimSpace(get(x.variable)); v != "" {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return fmt.Errorf("%s=%q is neither true nor false", x.variable, v)
			}
			*x.to = b
		}
	}
	return nil
}
