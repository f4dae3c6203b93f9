package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Ports of the contract with the proxy.
const (
	portXDS     = "15012"
	portAgent   = 15020
	portReady   = 15021
	portMetrics = 15090
)

// contract is what the built-in templates put into a pod for the proxy, computed
// here so that the templates show the shape only.
type contract struct {
	Args        []string // of the proxy
	Wait, Drain []string // commands of the lifecycle hooks
	// InitContainer is istio-init, or with a CNI plugin istio-validation; "": there is
	// none.
	InitContainer, InitImage string
	InitArgs                 []string
	InitEnv                  []corev1.EnvVar
	CNI, TProxy, Hold, Envoy bool
	// Sysctls are the pod's, with the one that lets the proxy listen at any port
	// without a privilege; nil where the platform forbids them.
	Sysctls []corev1.Sysctl

	ProxyConfig, PodPorts, AppContainers, Owner, Workload string // of the environment
	ClusterID, Network, MeshID, TrustDomain, CA           string
	CanonicalName, CanonicalRevision, TLSMode, Mode       string

	Annotations                         map[string]string
	Metadata                            []corev1.EnvVar // proxyMetadata
	Resources                           map[string]any
	Volumes                             []corev1.Volume
	Mounts                              []corev1.VolumeMount
	Readiness                           bool
	InitialDelay, Period, FailThreshold int
	Startup                             bool
	StartupFailThreshold                int
}

// contract computes the built-in templates' data.
func (w *work) contract(d *templateData) (*contract, error) {
	owner := w.owner()
	c := &contract{
		Envoy: w.dataPlane() == dataPlaneEnvoy, Mode: w.proxy.InterceptionMode.String(),
		Workload:      cmp.Or(w.bare.Labels[label.ServiceWorkloadName.Name], owner.Name),
		AppContainers: strings.Join(apps(&w.bare.Spec), ","),
		TLSMode:       cmp.Or(w.bare.Labels[label.SecurityTlsMode.Name], "istio"),
		ClusterID:     cmp.Or(w.request.Env[envCluster], w.values.text("global.multiCluster.clusterName"), "Kubernetes"),
		Network:       cmp.Or(w.bare.Labels[label.TopologyNetwork.Name], w.request.Env[envNetwork], w.values.text("global.network")),
		// The mesh configuration's trust domain always has a value; see withDefaults.
		TrustDomain: cmp.Or(w.values.text("global.trustDomain"), w.mesh.TrustDomain),
		CA:          cmp.Or(w.values.text("global.caAddress"), w.discoveryAddress()),
		InitImage:   w.initImage(d.ProxyImage),
		Hold:        w.hold(),
		Metadata:    variables(w.proxy.ProxyMetadata),
		Sysctls:     w.sysctls(),
	}
	c.MeshID = cmp.Or(w.values.text("global.meshID"), w.proxy.MeshId, c.TrustDomain)
	c.CanonicalName, c.CanonicalRevision = w.canonical(owner)
	if owner.Name != "" {
		c.Owner = fmt.Sprintf("kubernetes://apis/%s/namespaces/%s/%ss/%s", owner.APIVersion, cmp.Or(owner.Namespace, "default"), strings.ToLower(owner.Kind), owner.Name)
	}
	var err error
	if c.ProxyConfig, err = proxyConfigJSON(w.proxy); err != nil {
		return nil, err
	}
	if c.PodPorts, err = podPorts(&w.bare.Spec); err != nil {
		return nil, err
	}
	w.redirection(c)
	w.arguments(c)
	w.resourcesOf(c)
	w.probesOf(c)
	if err := w.annotationsOf(c); err != nil {
		return nil, err
	}
	return c, w.userVolumes(c)
}

// discoveryAddress is the control plane's Service, by revision and namespace.
func (in *Injector) discoveryAddress() string {
	name := "istiod"
	if in.revision != defaultRevision {
		name += "-" + in.revision
	}
	return net.JoinHostPort(name+"."+in.system+".svc", portXDS)
}

func (w *work) hold() bool {
	return w.proxy.GetHoldApplicationUntilProxyStarts().GetValue() || w.values.flag("global.proxy.holdApplicationUntilProxyStarts")
}

// initImage is the proxy's own image unless the installation names another one: the
// program that redirects is the proxy's.
func (w *work) initImage(proxy string) string {
	name := w.values.text("global.proxy_init.image")
	switch {
	case strings.Contains(w.original.Annotations[annotation.SidecarProxyImage.Name], "/"):
		return proxy
	case name == "" || name == w.values.text("global.proxy.image"):
		return proxy
	}
	return w.reference(name)
}

// arguments are the proxy's. The environment and the volumes say the rest.
func (w *work) arguments(c *contract) {
	a := w.original.Annotations
	level := cmp.Or(a[annotation.SidecarLogLevel.Name], w.values.text("global.proxy.logLevel"))
	components := cmp.Or(a[annotation.SidecarComponentLogLevel.Name], w.values.text("global.proxy.componentLogLevel"))
	agent := cmp.Or(a[annotation.SidecarAgentLogLevel.Name], w.values.text("global.logging.level"))
	if c.Envoy {
		c.Args = []string{"agent", "--pod", "--envoy", "/usr/local/bin/envoy", "--envoy-log-level=" + level, "--log-level=" + agent}
		if _, ok := a[annotation.SidecarComponentLogLevel.Name]; ok {
			w.say(annotation.SidecarComponentLogLevel.Name, verdict.NotActedOn, "an Envoy has one level for all of its components; %s sets it", annotation.SidecarLogLevel.Name)
		}
	} else {
		if components != "" {
			level += "," + components
		}
		c.Args = []string{"run", "--pod", "--log-level=" + level}
		if _, ok := a[annotation.SidecarAgentLogLevel.Name]; ok {
			w.say(annotation.SidecarAgentLogLevel.Name, verdict.Differs, "proxy and agent are one process; %s sets its level", annotation.SidecarLogLevel.Name)
		}
	}
	if w.values.flag("global.logAsJson") {
		c.Args = append(c.Args, "--log-format=json")
	}
	c.Wait = []string{programPath, "probe", "--wait", fmt.Sprintf("http://127.0.0.1:%d/healthz/ready", portReady)}
	c.Drain = []string{programPath, "probe", "--post", fmt.Sprintf("http://127.0.0.1:%d/drain", w.statusPort())}
}

// programPath is the proxy's program in its images.
const programPath = "/lateen-proxy"

// statusPort is where the agent listens.
func (w *work) statusPort() int { return cmp.Or(int(w.proxy.StatusPort), portAgent) }

// redirection computes the init container: the one that redirects, or the one that
// checks what the CNI plugin did.
func (w *work) redirection(c *contract) {
	c.TProxy = w.tproxy()
	if w.proxy.InterceptionMode == meshconfig.ProxyConfig_NONE {
		return
	}
	c.InitContainer, c.InitArgs = InitContainer, w.interceptArgs()
	if w.values.flag("global.logAsJson") {
		c.InitEnv = append(c.InitEnv, corev1.EnvVar{Name: "LOG_FORMAT", Value: "json"})
	}
	c.InitEnv = append(c.InitEnv, c.Metadata...)
	if w.cni() && !w.values.flag("global.proxy_init.forceApplyIptables") {
		c.CNI, c.InitContainer = true, ValidationContainer
		c.InitArgs = append(c.InitArgs, "--run-validation", "--skip-rule-apply")
	}
}

// interceptArgs are what says which traffic is redirected, under the short names
// that Istio's flags have.
func (w *work) interceptArgs() []string {
	get := w.traffic
	uid, gid := proxyIDs(w.request.Namespace.Annotations)
	if user := w.userID(); user > 0 {
		uid = user
	}
	args := []string{
		"intercept", "-p", strconv.Itoa(int(w.mesh.ProxyListenPort)), "-z", strconv.Itoa(int(w.mesh.ProxyInboundListenPort)),
		"-u", strconv.FormatInt(uid, 10), "-m", w.proxy.InterceptionMode.String(),
		"-i", get(annotation.SidecarTrafficIncludeOutboundIPRanges.Name, "includeIPRanges"),
		"-x", get(annotation.SidecarTrafficExcludeOutboundIPRanges.Name, "excludeIPRanges"),
		"-b", get(annotation.SidecarTrafficIncludeInboundPorts.Name, "includeInboundPorts"),
		"-d", w.excludedInbound(),
	}
	if gid != uid {
		args = append(args, "-g", strconv.FormatInt(gid, 10))
	}
	for _, x := range []struct{ flag, annotation, value string }{
		{"-q", annotation.SidecarTrafficIncludeOutboundPorts.Name, "includeOutboundPorts"},
		{"-o", annotation.SidecarTrafficExcludeOutboundPorts.Name, "excludeOutboundPorts"},
		{"-c", annotation.SidecarTrafficExcludeInterfaces.Name, "excludeInterfaces"},
	} {
		if v := get(x.annotation, x.value); v != "" {
			args = append(args, x.flag, v)
		}
	}
	a := w.bare.Annotations
	if v := cmp.Or(a[annotation.IoIstioRerouteVirtualInterfaces.Name], a[annotation.SidecarTrafficKubevirtInterfaces.Name]); v != "" {
		args = append(args, "-k", v)
	}
	return args
}

// traffic is an annotation, else the installation's value under global.proxy.
func (w *work) traffic(name, value string) string {
	if v, ok := w.bare.Annotations[name]; ok {
		return strings.Join(list(v), ",")
	}
	return w.values.text("global.proxy." + value)
}

// excludedInbound are the ports that are not redirected: the proxy's own, the
// user's.
func (w *work) excludedInbound() string {
	users := w.traffic(annotation.SidecarTrafficExcludeInboundPorts.Name, "excludeInboundPorts")
	out := strconv.Itoa(portMetrics) + "," + strconv.Itoa(portReady)
	if w.proxy.StatusPort != 0 {
		users = excludeInboundPort(w.proxy.StatusPort, users)
	}
	if users != "" {
		out += "," + users
	}
	return out
}

// userID is the user that a user's own istio-proxy container runs as, or 0. With
// TPROXY it is root.
func (w *work) userID() int64 {
	if w.tproxy() {
		return 0
	}
	if p := findProxy(w.bare); p != nil && p.SecurityContext != nil && p.SecurityContext.RunAsUser != nil {
		return *p.SecurityContext.RunAsUser
	}
	return 0
}

// podPorts is ISTIO_META_POD_PORTS: the ports of all containers that stay.
func podPorts(spec *corev1.PodSpec) (string, error) {
	ports := []corev1.ContainerPort{}
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && c.Name != ProxyContainer {
			ports = append(ports, c.Ports...)
		}
	}
	for _, c := range spec.Containers {
		ports = append(ports, c.Ports...)
	}
	text, err := json.Marshal(ports)
	return string(text), err
}

// unprivilegedPorts is among the sysctls that every pod security standard allows.
const unprivilegedPorts = "net.ipv4.ip_unprivileged_port_start"

func (w *work) sysctls() []corev1.Sysctl {
	if w.values.text("global.platform") == "openshift" {
		return nil
	}
	var own []corev1.Sysctl
	if s := w.bare.Spec.SecurityContext; s != nil {
		own = slices.Clone(s.Sysctls)
	}
	if slices.ContainsFunc(own, func(s corev1.Sysctl) bool { return s.Name == unprivilegedPorts }) {
		return own
	}
	return append(own, corev1.Sysctl{Name: unprivilegedPorts, Value: "0"})
}

func variables(m map[string]string) []corev1.EnvVar {
	out := []corev1.EnvVar{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, corev1.EnvVar{Name: name, Value: m[name]})
	}
	return out
}
