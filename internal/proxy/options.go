package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/ops/process"
	"github.com/lateen-mesh/lateen/internal/proxy/overload"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// Options configure a Proxy. Node, Sockets and Source are required.
type Options struct {
	// Node is what the proxy tells the control plane of itself, and where its own
	// name, namespace, labels and role (a "router~" id is a gateway) come from, and
	// whether it holds only what its workload calls (OnDemandField).
	Node *corev3.Node
	// Sockets make all sockets for traffic.
	Sockets rawio.Sockets
	// Source gives the resources: *client.Client, or anything like it in tests.
	Source Source
	// Secrets give certificates and roots by SDS name; nil: there are none but
	// those that come over ADS.
	Secrets tlsctx.Secrets
	// Resolver finds the addresses of DNS clusters; nil: the system's resolver.
	Resolver upstream.Resolver
	// AdminListener serves the admin pages (15000), MetricsListener the merged
	// metrics (15020) and StatusListener readiness (15021). nil ones are not
	// served; the Proxy closes them.
	AdminListener, MetricsListener, StatusListener net.Listener
	// AccessLog and ErrorLog are what /dev/stdout and /dev/stderr mean in this
	// proxy's configuration; nil discards.
	AccessLog, ErrorLog io.Writer
	Log                 *slog.Logger
	// Levels are shown and changed at /logging; nil: the page says that it cannot.
	Levels *ops.Levels
	// Watch may be shared by the proxies of a process; nil: one of its own.
	Watch *rawio.Watch
	// Concurrency is the number of TLS handshakes that compute at once; 0: the
	// number of usable cores.
	Concurrency int
	// MaxConnections bounds downstream connections; 0: no bound.
	MaxConnections int
	// Overload protects the process; it may be shared by the proxies of a process,
	// and its owner runs it. nil: nothing does.
	Overload *overload.Monitor
	// Runtime is what the process runs with, for the admin pages; nil: not shown.
	Runtime *process.Runtime
	// Profiles shows the process's profiles at /debug/pprof/, to clients on this
	// machine. Not for proxies that share a process: profiles are of all of it.
	Profiles bool
	// DrainTime is what connections have to finish after their listener or chain
	// disappeared; 0: 45 s.
	DrainTime time.Duration
	// Version is shown by the admin pages and the metric istio_build.
	Version string
	// Quit is called by /quitquitquit; nil: the page refuses.
	Quit func()
}

// Source is where resources come from. *client.Client is one.
type Source interface {
	// Run hands resources to h until ctx ends.
	Run(ctx context.Context, h client.Handler) error
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
}

func (o *Options) complete() error {
	switch {
	case o.Node.GetId() == "":
		return errors.New("proxy: the node has no id")
	case o.Sockets == nil:
		return errors.New("proxy: no sockets")
	case o.Source == nil:
		return errors.New("proxy: no source of configuration")
	}
	if o.Log == nil {
		o.Log = ops.Discard()
	}
	if o.Version == "" {
		o.Version = o.Node.GetMetadata().GetFields()["ISTIO_VERSION"].GetStringValue()
	}
	return nil
}

// gateway reports whether the proxy stands at the mesh's edge.
func (o *Options) gateway() bool { return strings.HasPrefix(o.Node.GetId(), "router~") }
