package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/ops/process"
)

// Bootstrap is all that a proxy must be told to start. It is read from a JSON
// file; flags and the environment replace single fields.
type Bootstrap struct {
	// XDS is the control plane: "unix:///path" or "host:port". CAFile holds the
	// roots that its TLS certificate is checked with; without one a TCP address is
	// spoken to in plain text.
	XDS    string `json:"xds"`
	CAFile string `json:"caFile,omitempty"`
	// TokenFile holds the bearer token; it is read anew for every connection.
	TokenFile string `json:"tokenFile,omitempty"`
	// Node is an envoy.config.core.v3.Node in proto JSON.
	Node json.RawMessage `json:"node,omitempty"`
	// TrustDomain of the workload's identity; default cluster.local.
	TrustDomain string `json:"trustDomain,omitempty"`
	// NamespaceFD is an inherited descriptor of the network namespace that the
	// proxy's sockets belong to; 0: the process's own. Mark is the SO_MARK of its own
	// connections where it has no such namespace.
	NamespaceFD int `json:"namespaceFD,omitempty"`
	Mark        int `json:"mark,omitempty"`
	// Admin, Metrics and Status are addresses ("127.0.0.1:15000", in the proxy's
	// network namespace) or "unix:///path"; "" serves none.
	Admin   string `json:"admin,omitempty"`
	Metrics string `json:"metrics,omitempty"`
	Status  string `json:"status,omitempty"`

	LogLevel  string `json:"logLevel,omitempty"`  // "info,upstream:debug"
	LogFormat string `json:"logFormat,omitempty"` // "text" or "json"
	// DrainSeconds is what open connections get after a request to stop (Istio's
	// terminationDrainDuration); default 5. The proxy ends as soon as none is left,
	// or with WaitOutDrain not before.
	DrainSeconds int  `json:"drainSeconds,omitempty"`
	WaitOutDrain bool `json:"waitOutDrain,omitempty"`
	// ChangeDrainSeconds is what connections get after a change of the configuration
	// took their listener or chain away (Istio's drainDuration); default 45.
	ChangeDrainSeconds int `json:"changeDrainSeconds,omitempty"`
	// Concurrency is the number of cores to use (Istio's ProxyConfig.concurrency);
	// absent: 2, or as many as there are if these are fewer; 0: all.
	Concurrency *int `json:"concurrency,omitempty"`
	// MaxConnections bounds the connections of clients; 0: the descriptors do.
	MaxConnections int `json:"maxConnections,omitempty"`

	// pod takes all else from the pod that the process is a container of.
	pod bool
}

// variables are the environment's names for the flags.
var variables = map[string]string{
	"xds": "LATEEN_XDS_ADDRESS", "ca-file": "LATEEN_XDS_CA_FILE", "token-file": "LATEEN_TOKEN_FILE", "trust-domain": "LATEEN_TRUST_DOMAIN",
	"concurrency": "LATEEN_CONCURRENCY", "drain-seconds": "LATEEN_DRAIN_SECONDS",
	"log-level": "LATEEN_LOG_LEVEL", "log-format": "LATEEN_LOG_FORMAT", "config": "LATEEN_PROXY_CONFIG",
}

// parseBootstrap reads flags, then the environment, then the file.
func parseBootstrap(env *Env, args []string) (*Bootstrap, error) {
	var b, file Bootstrap
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.SetOutput(env.Err)
	path := fs.String("config", "", "bootstrap file in JSON")
	fs.BoolVar(&b.pod, "pod", false, "take everything from the environment and the volumes of the pod that this is a container of")
	fs.StringVar(&b.XDS, "xds", "", "control plane: unix:///path or host:port")
	fs.StringVar(&b.CAFile, "ca-file", "", "roots of the control plane's TLS certificate")
	fs.StringVar(&b.TokenFile, "token-file", "", "file with the bearer token")
	fs.StringVar(&b.TrustDomain, "trust-domain", "", "trust domain of the workload's identity")
	fs.IntVar(&b.NamespaceFD, "namespace-fd", 0, "inherited descriptor of the network namespace for the proxy's sockets")
	fs.IntVar(&b.Mark, "mark", 0, "mark of the proxy's own connections")
	fs.StringVar(&b.Admin, "admin", "", "address of the admin pages")
	fs.StringVar(&b.Metrics, "metrics", "", "address of the metrics")
	fs.StringVar(&b.Status, "status", "", "address of the readiness probe")
	fs.StringVar(&b.LogLevel, "log-level", "", "level, or level,scope:level,…")
	fs.StringVar(&b.LogFormat, "log-format", "", "text or json")
	fs.IntVar(&b.DrainSeconds, "drain-seconds", 0, "what open connections get after a request to stop")
	fs.BoolVar(&b.WaitOutDrain, "wait-out-drain", false, "stay for all of --drain-seconds, even if no connection is left")
	fs.IntVar(&b.ChangeDrainSeconds, "change-drain-seconds", 0, "what open connections get after their listener was changed or removed")
	fs.Func("concurrency", "cores to use; 0: all (default 2, or fewer where there are fewer)", b.setConcurrency)
	fs.IntVar(&b.MaxConnections, "max-connections", 0, "most connections of clients; 0: as many as there are descriptors for")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, usageError{err}
	}
	if fs.NArg() > 0 {
		return nil, usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, variable := range variables {
		if v := env.Getenv(variable); v != "" && !given[name] {
			if err := fs.Set(name, v); err != nil {
				return nil, usageError{fmt.Errorf("%s: %w", variable, err)}
			}
		}
	}
	if *path != "" {
		text, err := os.ReadFile(*path)
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&file); err != nil {
			return nil, fmt.Errorf("%s: %w", *path, err)
		}
	}
	b.fillFrom(&file)
	if b.pod {
		return &b, b.check()
	}
	if b.XDS == "" {
		return nil, usageError{errors.New("no control plane: give --xds, LATEEN_XDS_ADDRESS or a bootstrap file")}
	}
	if b.TokenFile == "" {
		return nil, usageError{errors.New("no token: give --token-file, LATEEN_TOKEN_FILE or a bootstrap file")}
	}
	return &b, b.check()
}

// fillFrom takes from the file what is not given otherwise, then the defaults.
func (b *Bootstrap) fillFrom(f *Bootstrap) {
	text := func(v *string, parts ...string) {
		for _, p := range parts {
			if *v == "" {
				*v = p
			}
		}
	}
	number := func(v *int, parts ...int) {
		for _, p := range parts {
			if *v == 0 {
				*v = p
			}
		}
	}
	text(&b.XDS, f.XDS)
	text(&b.CAFile, f.CAFile)
	text(&b.TokenFile, f.TokenFile)
	text(&b.TrustDomain, f.TrustDomain, "cluster.local")
	text(&b.Admin, f.Admin)
	text(&b.Metrics, f.Metrics)
	text(&b.Status, f.Status)
	text(&b.LogLevel, f.LogLevel, "info")
	text(&b.LogFormat, f.LogFormat, "text")
	number(&b.NamespaceFD, f.NamespaceFD)
	number(&b.Mark, f.Mark)
	number(&b.DrainSeconds, f.DrainSeconds, 5)
	number(&b.ChangeDrainSeconds, f.ChangeDrainSeconds)
	number(&b.MaxConnections, f.MaxConnections)
	b.WaitOutDrain = b.WaitOutDrain || f.WaitOutDrain
	if b.Concurrency == nil {
		b.Concurrency = f.Concurrency
	}
	if len(b.Node) == 0 {
		b.Node = f.Node
	}
}

func (b *Bootstrap) setConcurrency(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	b.Concurrency = &n
	return nil
}

// check refuses numbers that mean nothing.
func (b *Bootstrap) check() error {
	for _, x := range []struct {
		name  string
		value int
	}{{"drain-seconds", b.DrainSeconds}, {"change-drain-seconds", b.ChangeDrainSeconds}, {"concurrency", b.concurrency()}, {"max-connections", b.MaxConnections}} {
		if x.value < 0 {
			return usageError{fmt.Errorf("%s: %d is negative", x.name, x.value)}
		}
	}
	return nil
}

// concurrency is what is asked for, 0 for all cores.
func (b *Bootstrap) concurrency() int {
	if b.Concurrency == nil {
		return process.Usable()
	}
	return *b.Concurrency
}

func (b *Bootstrap) drain() time.Duration { return time.Duration(b.DrainSeconds) * time.Second }

// node reads the node, or makes one from the environment that Kubernetes'
// downward API gives a sidecar, under Istio's names.
func (b *Bootstrap) node(getenv func(string) string) (*corev3.Node, error) {
	n := &corev3.Node{}
	if len(b.Node) > 0 {
		if err := protojson.Unmarshal(b.Node, n); err != nil {
			return nil, fmt.Errorf("bootstrap: node: %w", err)
		}
	} else {
		var err error
		if n, err = nodeFromEnv(getenv); err != nil {
			return nil, err
		}
	}
	if strings.Count(n.GetId(), "~") != 3 {
		return nil, fmt.Errorf("node id %q is not of the form ROLE~IP~NAME.NAMESPACE~DOMAIN", n.GetId())
	}
	n.UserAgentName = "lateen-proxy"
	return n, nil
}

func nodeFromEnv(getenv func(string) string) (*corev3.Node, error) {
	name, ns, ip := getenv("POD_NAME"), getenv("POD_NAMESPACE"), getenv("INSTANCE_IP")
	if name == "" || ns == "" || ip == "" {
		return nil, errors.New("no node: give one in the bootstrap file, or set POD_NAME, POD_NAMESPACE and INSTANCE_IP")
	}
	role := getenv("LATEEN_ROLE")
	if role == "" {
		role = "sidecar"
	}
	meta := map[string]any{
		"NAME": name, "NAMESPACE": ns, "INSTANCE_IPS": ip, "LATEEN_DATA_PLANE": "native",
		"SERVICE_ACCOUNT": getenv("SERVICE_ACCOUNT"), "WORKLOAD_NAME": getenv("ISTIO_META_WORKLOAD_NAME"), "OWNER": getenv("ISTIO_META_OWNER"),
		"CLUSTER_ID": getenv("ISTIO_META_CLUSTER_ID"), "MESH_ID": getenv("ISTIO_META_MESH_ID"), "INTERCEPTION_MODE": getenv("ISTIO_META_INTERCEPTION_MODE"),
	}
	if text := getenv("ISTIO_METAJSON_LABELS"); text != "" {
		labels := map[string]any{}
		if err := json.Unmarshal([]byte(text), &labels); err != nil {
			return nil, fmt.Errorf("ISTIO_METAJSON_LABELS: %w", err)
		}
		meta["LABELS"] = labels
	}
	s, err := structpb.NewStruct(meta)
	if err != nil {
		return nil, fmt.Errorf("node metadata: %w", err)
	}
	return &corev3.Node{Id: role + "~" + ip + "~" + name + "." + ns + "~" + ns + ".svc.cluster.local", Metadata: s}, nil
}
