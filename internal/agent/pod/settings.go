package pod

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Places of the contract, under the root directory.
const (
	tokenFile       = "var/run/secrets/tokens/istio-token"
	rootFile        = "var/run/secrets/istio/root-cert.pem"
	clusterRootFile = "var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
	labelsFile      = "etc/istio/pod/labels"
	annotationsFile = "etc/istio/pod/annotations"
	memoryDir       = "etc/istio/proxy"
	dataDir         = "var/lib/istio/data"
)

// Default values.
const (
	defaultDiscovery = "istiod.istio-system.svc:15012"
	defaultAdmin     = 15000
	defaultStatus    = 15020
	readinessPort    = 15021
	metricsPort      = 15090
	defaultDrain     = 5 * time.Second
	defaultChange    = 45 * time.Second
	defaultMinimum   = 5 * time.Second
	defaultFromCache = 3 * time.Second
)

// Roles of a proxy, as LATEEN_ROLE and the node's id name them.
const (
	Sidecar = "sidecar"
	Router  = "router"
)

// Settings is all that a proxy in a pod is told. It does not change, except for what
// lies in the files that it names.
type Settings struct {
	Pod            string
	Namespace      string
	ServiceAccount string
	TrustDomain    string
	Role           string   // Sidecar or Router
	IPs            []string // of the pod; the first one is the proxy's own

	// Discovery and CA are the control plane's addresses, "host:port"; mostly they are
	// the same.
	Discovery, CA string
	// ServerName is what the control plane's certificate must be for; "" takes the
	// host of the address.
	ServerName string
	// RootFile holds the roots that the control plane's certificate is checked with;
	// "": those of the system.
	RootFile string
	// TokenFile holds the workload's token. Where ProvidedCerts is set, the
	// certificate in that directory is shown to the control plane instead.
	TokenFile, ProvidedCerts string
	// CertLifetime is what the workload's certificate should be valid for; 0: as long as
	// the authority says. CertGrace is the part of it that is left when it is renewed.
	CertLifetime time.Duration
	CertGrace    float64
	// OutputCerts is a directory that the workload's certificate is written to; "":
	// it is not.
	OutputCerts string

	LabelsFile, AnnotationsFile string
	// MemoryDir is a volume in memory that lives as long as the pod, DataDir one on
	// disk.
	MemoryDir, DataDir string

	Admin, Agent, Readiness, Metrics string // addresses to listen at
	DNS                              bool   // questions for names are redirected to the proxy
	// Transparent says that inbound connections keep their addresses (interception mode
	// TPROXY): the proxy needs CAP_NET_ADMIN for its sockets.
	Transparent bool

	Drain Drain
	// ChangeDrain is what connections have after a change took their listener away.
	ChangeDrain time.Duration
	Concurrency *int // nil: not set; 0: all cores

	// FromCache is how long a proxy that starts waits for the control plane before it
	// takes the configuration that it had last; negative: it waits on.
	FromCache time.Duration
	// KeepKey keeps key and certificate in MemoryDir, so that a container that starts
	// again has them.
	KeepKey bool
	// Profiles shows Go's profiles on the agent's port, to clients in the pod.
	Profiles bool

	// Probers and Scrape are the application's probes and metrics in Istio's JSON.
	Probers, Scrape, Ports string

	// Ignored names settings that were given and that nothing acts on.
	Ignored []string

	getenv   func(string) string
	meshID   string
	metadata map[string]string // proxyMetadata
	told     map[string]any    // fields of PROXY_CONFIG for the control plane
}

// Drain says how a proxy ends.
type Drain struct {
	// Termination is Istio's terminationDrainDuration.
	Termination time.Duration
	// UntilIdle stays until no connection is left, for at least Minimum
	// (EXIT_ON_ZERO_ACTIVE_CONNECTIONS, MINIMUM_DRAIN_DURATION).
	UntilIdle bool
	Minimum   time.Duration
}

// Read reads the settings from the environment. Files are below root, "/" in a pod.
func Read(getenv func(string) string, root string) (*Settings, error) {
	c, err := ParseProxyConfig(getenv("PROXY_CONFIG"))
	if err != nil {
		return nil, err
	}
	env := func(name string) string { return cmp.Or(getenv(name), c.ProxyMetadata[name]) }
	at := func(path string) string { return filepath.Join(root, path) }
	s := &Settings{
		Pod: env("POD_NAME"), Namespace: env("POD_NAMESPACE"), ServiceAccount: cmp.Or(env("SERVICE_ACCOUNT"), "default"),
		TrustDomain: cmp.Or(env("TRUST_DOMAIN"), "cluster.local"), Role: cmp.Or(env("LATEEN_ROLE"), Sidecar),
		Discovery: cmp.Or(c.DiscoveryAddress, defaultDiscovery), ServerName: env("ISTIOD_SAN"),
		TokenFile: at(tokenFile), ProvidedCerts: env("PROV_CERT"), OutputCerts: env("OUTPUT_CERTS"),
		LabelsFile: at(labelsFile), AnnotationsFile: at(annotationsFile), MemoryDir: at(memoryDir), DataDir: at(dataDir),
		Admin:     "127.0.0.1:" + strconv.Itoa(cmp.Or(c.ProxyAdminPort, defaultAdmin)),
		Agent:     ":" + strconv.Itoa(cmp.Or(c.StatusPort, defaultStatus)),
		Readiness: ":" + strconv.Itoa(readinessPort), Metrics: ":" + strconv.Itoa(metricsPort),
		ChangeDrain: orDefault(c.DrainDuration, defaultChange), Concurrency: c.Concurrency,
		Drain:   Drain{Termination: orDefault(c.TerminationDrainDuration, defaultDrain)},
		Probers: env("ISTIO_KUBE_APP_PROBERS"), Scrape: env("ISTIO_PROMETHEUS_ANNOTATIONS"), Ports: env("ISTIO_META_POD_PORTS"),
		Ignored: c.Ignored, getenv: env, meshID: c.MeshID, metadata: c.ProxyMetadata, told: c.Told,
	}
	s.Transparent = env("ISTIO_META_INTERCEPTION_MODE") == "TPROXY"
	s.CA = cmp.Or(env("CA_ADDR"), s.Discovery)
	if err := s.readIPs(env); err != nil {
		return nil, err
	}
	if err := s.readRoots(env, at); err != nil {
		return nil, err
	}
	if err := s.readSwitches(env); err != nil {
		return nil, err
	}
	return s, s.check()
}

func orDefault(d *time.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return *d
}

func (s *Settings) readIPs(env func(string) string) error {
	own := env("INSTANCE_IP")
	all := cmp.Or(env("INSTANCE_IPS"), own)
	for ip := range strings.SplitSeq(all, ",") {
		if ip = strings.TrimSpace(ip); ip == "" {
			continue
		}
		if net.ParseIP(ip) == nil {
			return fmt.Errorf("INSTANCE_IPS: %q is not an address", ip)
		}
		if ip == own {
			s.IPs = append([]string{ip}, s.IPs...)
		} else {
			s.IPs = append(s.IPs, ip)
		}
	}
	return nil
}

// readRoots finds the roots of the control plane's certificate, by the names that
// Istio's PILOT_CERT_PROVIDER has.
func (s *Settings) readRoots(env func(string) string, at func(string) string) error {
	if path := env("XDS_ROOT_CA"); path != "" {
		s.RootFile = path
		return nil
	}
	switch p := cmp.Or(env("PILOT_CERT_PROVIDER"), "istiod"); p {
	case "istiod", "custom":
		s.RootFile = at(rootFile)
	case "kubernetes":
		s.RootFile = at(clusterRootFile)
	case "system":
		s.RootFile = ""
	default:
		return fmt.Errorf("PILOT_CERT_PROVIDER: %q is not supported: want istiod, kubernetes, custom or system", p)
	}
	return nil
}

func (s *Settings) readSwitches(env func(string) string) error {
	var errs []error
	boolean := func(name string, to *bool, def bool) {
		*to = def
		if v := env(name); v != "" {
			b, err := strconv.ParseBool(v)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %q is neither true nor false", name, v))
			}
			*to = b
		}
	}
	span := func(name string, to *time.Duration, def time.Duration) {
		*to = def
		if v := env(name); v != "" {
			d, err := time.ParseDuration(v)
			if err == nil && d < 0 {
				err = errors.New("it is negative")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
			*to = d
		}
	}
	boolean("ISTIO_META_DNS_CAPTURE", &s.DNS, false)
	boolean("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", &s.Drain.UntilIdle, false)
	boolean("LATEEN_PROFILES", &s.Profiles, false)
	span("SECRET_TTL", &s.CertLifetime, 0)
	if v := env("SECRET_GRACE_PERIOD_RATIO"); v != "" {
		var err error
		if s.CertGrace, err = strconv.ParseFloat(v, 64); err != nil || s.CertGrace <= 0 || s.CertGrace >= 1 {
			errs = append(errs, fmt.Errorf("SECRET_GRACE_PERIOD_RATIO: %q is not a part between 0 and 1", v))
		}
	}
	span("MINIMUM_DRAIN_DURATION", &s.Drain.Minimum, defaultMinimum)
	switch v := env("LATEEN_START_FROM_CACHE"); v {
	case "never":
		s.FromCache = -1
	default:
		span("LATEEN_START_FROM_CACHE", &s.FromCache, defaultFromCache)
	}
	switch v := cmp.Or(env("LATEEN_KEEP_KEY"), "memory"); v {
	case "memory":
		s.KeepKey = true
	case "never":
	default:
		errs = append(errs, fmt.Errorf("LATEEN_KEEP_KEY: %q is neither memory nor never", v))
	}
	return errors.Join(errs...)
}

func (s *Settings) check() error {
	var missing []string
	for _, x := range []struct{ name, value string }{{"POD_NAME", s.Pod}, {"POD_NAMESPACE", s.Namespace}} {
		if x.value == "" {
			missing = append(missing, x.name)
		}
	}
	if len(s.IPs) == 0 {
		missing = append(missing, "INSTANCE_IP")
	}
	if len(missing) > 0 {
		return fmt.Errorf("not in the environment: %s (is this the container of a pod?)", strings.Join(missing, ", "))
	}
	if s.Role != Sidecar && s.Role != Router {
		return fmt.Errorf("LATEEN_ROLE: %q is neither %s nor %s", s.Role, Sidecar, Router)
	}
	for _, a := range []string{s.Discovery, s.CA} {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("address of the control plane: %w", err)
		}
	}
	return nil
}
