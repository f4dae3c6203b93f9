package cluster

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1beta1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/push"
)

// The injector's ConfigMap and its keys, as Istio has them.
const (
	injectorConfigMap = "istio-sidecar-injector"
	injectorConfigKey = "config"
	injectorValuesKey = "values"
)

// injection keeps the injector at the mesh's configuration and its own. Its methods
// are safe for concurrent use.
type injection struct {
	// immutable
	o       Options
	objects push.Objects
	log     *slog.Logger
	metrics injectionMetrics

	current atomic.Pointer[inject.Injector]
	index   atomic.Pointer[namespaces]

	mu             sync.Mutex
	config, values []byte // guarded by mu: as the ConfigMap has them
	mesh           *meshconfig.MeshConfig
	known          bool // guarded by mu: the ConfigMap was asked for
}

// injectionMetrics have Istio's names.
type injectionMetrics struct{ requests, injected, skipped, failed prometheus.Counter }

func newInjection(o Options, objects push.Objects, to prometheus.Registerer) *injection {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "sidecar_injection_" + name + "_total", Help: help})
	}
	m := injectionMetrics{
		requests: counter("requests", "Pods that the injector was asked about."), injected: counter("success", "Pods that got a proxy."),
		skipped: counter("skip", "Pods that wanted none."), failed: counter("failure", "Pods that were refused, or could not be answered."),
	}
	to.MustRegister(m.requests, m.injected, m.skipped, m.failed)
	return &injection{o: o, objects: objects, log: ops.Scope(o.Log, "inject"), metrics: m}
}

// Ready tells whether the injector's configuration has been read. One that is wrong
// does not keep a replica from serving the rest.
func (i *injection) Ready() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.known {
		return errors.New("the injector's configuration is not read yet")
	}
	return nil
}

// handler serves /inject.
func (i *injection) handler() http.Handler {
	return inject.Handler(inject.Deps{
		Injector: i.current.Load, Namespace: i.namespace, ProxyConfigs: i.proxyConfigs, Report: i.report, Log: i.log,
	})
}

// setMesh takes the mesh's configuration.
func (i *injection) setMesh(mc *meshconfig.MeshConfig) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mesh = mc
	i.remake()
}

// setDocument takes the injector's ConfigMap; nil where there is none: the defaults
// act.
func (i *injection) setDocument(d *kube.Document) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var config, values []byte
	if d != nil {
		config, values = d.Data[injectorConfigKey], d.Data[injectorValuesKey]
	}
	if i.known && bytes.Equal(config, i.config) && bytes.Equal(values, i.values) {
		return
	}
	i.config, i.values, i.known = config, values, true
	i.remake()
}

// remake makes a new injector; one that cannot be made leaves the last in force.
// The caller holds mu.
func (i *injection) remake() {
	if i.mesh == nil || !i.known {
		return
	}
	s := inject.Settings{Mesh: i.mesh, Revision: i.o.Revision, SystemNamespace: i.o.Namespace, Getenv: os.Getenv}
	var err error
	if len(i.config) > 0 {
		s.Config, err = inject.ParseConfig(i.config)
	}
	if err == nil && len(i.values) > 0 {
		s.Values, err = inject.ParseValues(i.values)
	}
	var next *inject.Injector
	if err == nil {
		next, err = inject.New(s)
	}
	if err != nil {
		i.log.Error("the injector's configuration was not taken; the last good one acts", "config_map", injectorConfigMap, "err", err)
		return
	}
	i.current.Store(next)
	i.log.Info("injector ready")
}

// follow reads the ConfigMap whenever it changes, until ctx ends.
func (i *injection) follow(client *kube.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		return client.FollowConfigMap(ctx, i.o.Namespace, client.Named(injectorConfigMap), i.setDocument)
	}
}

// namespaces are the objects that injection reads, at one revision; immutable.
type namespaces struct {
	revision int64
	byName   map[string]inject.Namespace
	configs  []inject.ProxyConfig
}

// read gives the index of the newest objects.
func (i *injection) read() *namespaces {
	objects, revision := i.objects.Snapshot()
	if n := i.index.Load(); n != nil && n.revision == revision {
		return n
	}
	n := &namespaces{revision: revision, byName: map[string]inject.Namespace{}}
	for _, o := range objects {
		switch spec := o.Spec.(type) {
		case *networking.ProxyConfig:
			n.configs = append(n.configs, inject.ProxyConfig{Namespace: o.Meta.Namespace, Name: o.Meta.Name, Created: time.Unix(0, o.Meta.Created), Spec: spec})
		default:
			if o.Kind.Name == api.KindNamespace {
				n.byName[o.Meta.Name] = inject.Namespace{Name: o.Meta.Name, Labels: o.Meta.Labels, Annotations: o.Meta.Annotations}
			}
		}
	}
	i.index.Store(n)
	return n
}

func (i *injection) namespace(name string) (inject.Namespace, bool) {
	n, ok := i.read().byName[name]
	return n, ok
}

func (i *injection) proxyConfigs() []inject.ProxyConfig { return i.read().configs }

// report counts an answer; the handler has logged it.
func (i *injection) report(o inject.Outcome) {
	i.metrics.requests.Inc()
	switch {
	case o.Err != nil:
		i.metrics.failed.Inc()
	case o.Decision.Inject:
		i.metrics.injected.Inc()
	default:
		i.metrics.skipped.Inc()
	}
}

// documents are the injector's configuration as the ConfigMap has it.
func (i *injection) documents() (config, values []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.config, i.values
}
