package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// DefaultNamespace is the system namespace where Options name none.
const DefaultNamespace = "istio-system"

// DefaultRevision is the revision whose objects carry no suffix.
const DefaultRevision = "default"

// Limits of requests to the API server, per process. Watches count once.
const (
	requestsPerSecond = 50
	requestBurst      = 100
)

// Options say which cluster and which installation of the mesh a Client is for.
type Options struct {
	// Kubeconfig is a file; "" takes the service account of the pod, or, outside a
	// cluster, what kubectl would take ($KUBECONFIG, ~/.kube/config).
	Kubeconfig string
	// Context of the kubeconfig; "" takes its current one.
	Context string
	// Namespace is the system namespace; "" is DefaultNamespace.
	Namespace string
	// Revision of this control plane; "" is DefaultRevision.
	Revision string
	// SharedMeshConfig is a ConfigMap of the system namespace whose mesh key lies
	// below the revision's own (Istio's SHARED_MESH_CONFIG); "" for none.
	SharedMeshConfig string
	Log              *slog.Logger // nil: silent
}

// Client is a connection to one cluster. Its methods are safe for concurrent use.
type Client struct {
	// immutable
	namespace, revision string
	shared              string // ConfigMap; "" for none
	log                 *slog.Logger
	logger              klog.Logger // log, as client-go takes it
	quiet               klog.Logger // the same for watches, whose errors repeat: all at the level of debugging
	config              *rest.Config
	typed               kubernetes.Interface // protobuf on the wire
	dynamic             dynamic.Interface
	metadata            metadata.Interface

	reviews reviewCache
}

// Connect prepares a client. It does not wait for the API server, which may come
// later: the first call tells. Idle connections are closed when ctx ends.
func Connect(ctx context.Context, o Options) (*Client, error) {
	config, err := restConfig(o)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	c, err := newClient(config, o)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	context.AfterFunc(ctx, func() {
		if t, err := rest.TransportFor(config); err == nil {
			utilnet.CloseIdleConnectionsFor(t)
		}
	})
	return c, nil
}

// restConfig finds the API server and the credentials.
func restConfig(o Options) (*rest.Config, error) {
	if o.Kubeconfig == "" && o.Context == "" {
		config, err := rest.InClusterConfig()
		if !errors.Is(err, rest.ErrNotInCluster) {
			return config, err
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
}

func newClient(config *rest.Config, o Options) (*Client, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = requestsPerSecond, requestBurst
	config.UserAgent = "lateen"
	config.WarningHandlerWithContext = warnings{o.Log}
	c := &Client{
		namespace: cmp.Or(o.Namespace, DefaultNamespace), revision: cmp.Or(o.Revision, DefaultRevision), shared: o.SharedMeshConfig,
		log: o.Log, logger: logr.FromSlogHandler(o.Log.Handler()), quiet: logr.FromSlogHandler(demoted{o.Log.Handler()}), config: config,
	}
	// One transport for all clients: their requests share connections.
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	typed := rest.CopyConfig(config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = typed.ContentType + ",application/json"
	if c.typed, err = kubernetes.NewForConfigAndClient(typed, h); err != nil {
		return nil, err
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(config, h); err != nil {
		return nil, err
	}
	c.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), h)
	return c, err
}

// Namespace is the system namespace.
func (c *Client) Namespace() string { return c.namespace }

// Revision is this control plane's revision, "default" where there is only one.
func (c *Client) Revision() string { return c.revision }

// Named gives the name of an object that each revision has of its own: "istiod"
// for the default revision, "istiod-canary" for the revision canary.
func (c *Client) Named(base string) string {
	if c.revision == DefaultRevision {
		return base
	}
	return base + "-" + c.revision
}

// Config is the connection for clients of other libraries (Helm, the CLI's port
// forwards). It is a copy.
func (c *Client) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Typed is the client of Kubernetes' own kinds, for what this package has no word
// for.
func (c *Client) Typed() kubernetes.Interface { return c.typed }

// Dynamic is the client of all kinds.
func (c *Client) Dynamic() dynamic.Interface { return c.dynamic }

// Version is the API server's version, "v1.34.4"; it is also the cheapest way to
// see whether the server answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(c.context(ctx), 10*time.Second)
	defer cancel()
	info, err := c.typed.Discovery().ServerVersionWithContext(ctx)
	if err != nil {
		return "", explain(err, "asking the API server for its version")
	}
	return info.GitVersion, nil
}

// context carries the log into client-go.
func (c *Client) context(ctx context.Context) context.Context { return klog.NewContext(ctx, c.logger) }

// demoted logs everything at the level of debugging.
type demoted struct{ slog.Handler }

// Enabled implements slog.Handler.
func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (d demoted) WithAttrs(a []slog.Attr) slog.Handler { return demoted{d.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }

// warnings logs what the API server says beside its answers: most is about
// deprecated versions, which the mesh's users read from `lateen doctor`.
type warnings struct{ log *slog.Logger }

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, text string) {
	if code == http.StatusOK || code == 299 { // RFC 9111 section 5.5 (of old: 299 is a lasting warning)
		w.log.Debug("the API server warns", "text", text)
	}
}
