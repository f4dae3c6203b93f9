package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lateen-mesh/lateen/internal/ops"
)

// Options configure a node's agent. Paths are the agent's own, unless they say
// otherwise.
type Options struct {
	Node      string // its name in the API
	Namespace string // the agent's
	DaemonSet string // the agent's; its pods' names begin with it

	Binary   string // of the plugin: the agent's own program
	BinDir   string // the host's folder of plugins
	ConfDir  string // the host's folder of network configurations
	ConfName string
	Chained  bool // false: a configuration that Multus calls

	SocketDir     string // of the agent's socket
	HostSocketDir string // the same folder, as the host sees it
	NetnsDir      string // the host's /proc, or its folder of network namespaces; for repair

	FailurePolicy     FailurePolicy
	ExcludeNamespaces []string
	Repair            RepairMode
	RepairLabel       string // key=value, for RepairLabel
	RemoveTaint       bool

	Ready   string // address of GET /readyz; empty: none
	Metrics string // address of GET /metrics; empty: none

	API *API
	Log *slog.Logger
}

// socketName is the name of the agent's socket in its folder.
const socketName = "agent.sock"

// agent answers the plugin.
type agent struct {
	o       Options
	api     *API
	log     *slog.Logger
	metrics *metrics
	ready   *ops.Readiness
	repair  *repairer
}

// Run is the node's agent: it installs the plugin, answers it, and repairs, until
// ctx ends. Then the plugin stays if the agent is to come back (an upgrade, a crash):
// pods that start meanwhile wait for it. If the DaemonSet is gone, it is taken away.
func Run(ctx context.Context, o Options) error {
	a := &agent{o: o, api: o.API, log: o.Log, metrics: newMetrics(), ready: ops.NewReadiness("plugin")}
	a.repair = newRepairer(o, a.metrics)
	in := a.installer()
	l, err := a.listen()
	if err != nil {
		return err
	}
	tasks := &group{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tasks.run(cancel, func() error { return serve(ctx, l, a.handler()) })
	for addr, h := range map[string]http.Handler{o.Ready: a.readyHandler(), o.Metrics: a.metricsHandler()} {
		if addr == "" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			cancel(err)
			break
		}
		tasks.run(cancel, func() error { return serve(ctx, l, h) })
	}
	tasks.run(cancel, func() error { return in.run(ctx, a.installed) })
	tasks.run(cancel, func() error { return a.untaint(ctx) })
	tasks.run(cancel, func() error { return a.repair.run(ctx) })
	tasks.wait()
	err = context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, a.leave(in))
}

// group waits for goroutines; the first that fails ends the others.
type group struct{ wg sync.WaitGroup }

func (g *group) run(cancel context.CancelCauseFunc, f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil {
			cancel(err)
		}
	})
}

func (g *group) wait() { g.wg.Wait() }

func (a *agent) installer() *installer {
	o := a.o
	return &installer{
		binary: o.Binary, binDir: o.BinDir, confDir: o.ConfDir, confName: o.ConfName, chained: o.Chained, log: a.log, metrics: a.metrics,
		plugin: pluginConfig{Type: PluginName, Socket: filepath.Join(o.HostSocketDir, socketName), FailurePolicy: o.FailurePolicy,
			ExcludeNamespaces: o.ExcludeNamespaces, AgentNamespace: o.Namespace, AgentPrefix: o.DaemonSet + "-"},
	}
}

// installed takes the installer's reports.
func (a *agent) installed(err error) {
	if err != nil {
		a.metrics.ready.Set(0)
		a.ready.Set("plugin", err.Error())
		return
	}
	a.metrics.ready.Set(1)
	a.ready.Set("plugin", "")
}

// leave decides whether the plugin stays on the node. An API server that does not
// answer says nothing: then it stays.
func (a *agent) leave(in *installer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	stands, err := a.api.DaemonSetStands(ctx, a.o.Namespace, a.o.DaemonSet)
	if err != nil {
		a.log.Warn("the plugin stays installed: it is not known whether the agent comes back", "error", err)
		return nil
	}
	if stands {
		a.log.Info("the plugin stays installed: the agent comes back")
		return nil
	}
	a.log.Info("the plugin is taken away: its DaemonSet is gone")
	return in.uninstall()
}

// listen makes the socket, in place of one that an agent before left.
func (a *agent) listen() (net.Listener, error) {
	if err := os.MkdirAll(a.o.SocketDir, 0o700); err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	path := filepath.Join(a.o.SocketDir, socketName)
	if err := remove(path); err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	// Only root on the host runs plugins.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("the agent's socket: %w", err), l.Close())
	}
	return l, nil
}

// serve serves until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a *agent) readyHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /readyz", a.ready)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

func (a *agent) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	return mux
}

// handler answers the plugin.
func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathDecide, func(w http.ResponseWriter, r *http.Request) {
		var q question
		if !a.decode(w, r, &q) {
			return
		}
		d, err := a.decide(r.Context(), q)
		if err != nil {
			a.metrics.requests.WithLabelValues("failed").Inc()
			a.log.Warn("a pod cannot start yet", "namespace", q.Namespace, "pod", q.Name, "error", err)
			code := http.StatusUnprocessableEntity
			if errors.Is(err, errNoDecision) {
				code = http.StatusServiceUnavailable
			}
			a.answer(w, code, refusal{err.Error()})
			return
		}
		if d.Options == nil {
			a.metrics.requests.WithLabelValues("skipped").Inc()
			a.log.Debug("a pod is not redirected", "namespace", q.Namespace, "pod", q.Name, "reason", d.Reason)
		}
		a.answer(w, http.StatusOK, d)
	})
	mux.HandleFunc("POST "+pathOutcome, func(w http.ResponseWriter, r *http.Request) {
		var o outcome
		if !a.decode(w, r, &o) {
			return
		}
		if o.Error != "" {
			a.metrics.requests.WithLabelValues("failed").Inc()
			a.log.Error("redirecting a pod failed", "namespace", o.Namespace, "pod", o.Name, "error", o.Error)
		} else {
			a.metrics.requests.WithLabelValues("redirected").Inc()
			a.repair.know(o.UID)
			a.log.Info("a pod is redirected", "namespace", o.Namespace, "pod", o.Name)
		}
		a.answer(w, http.StatusOK, struct{}{})
	})
	return mux
}

func (a *agent) decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(io.LimitReader(r.Body, maxMessage)).Decode(v); err != nil {
		a.answer(w, http.StatusBadRequest, refusal{err.Error()})
		return false
	}
	return true
}

func (a *agent) answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		a.log.Warn("answering the plugin", "error", err)
	}
}

// Trying the API server for a pod, within agentTimeout.
const (
	podTimeout  = 30 * time.Second
	podTries    = 5
	podTryPause = time.Second
)

// decide reads the pod and decides. A pod that is not the one that the runtime
// starts (a StatefulSet's next pod of the name) is not decided by.
func (a *agent) decide(ctx context.Context, q question) (Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	var err error
	for try := range podTries {
		if try > 0 {
			select {
			case <-time.After(podTryPause):
			case <-ctx.Done():
				return Decision{}, fmt.Errorf("%w: reading pod %s/%s: %w", errNoDecision, q.Namespace, q.Name, err)
			}
		}
		var p *Pod
		if p, err = a.api.Pod(ctx, q.Namespace, q.Name); err != nil {
			continue
		}
		if q.UID != "" && p.Metadata.UID != q.UID {
			return Decision{}, fmt.Errorf("pod %s has the UID %s, not %s: the pod that starts is gone", p, p.Metadata.UID, q.UID)
		}
		return Decide(p, a.o.ExcludeNamespaces)
	}
	return Decision{}, fmt.Errorf("%w: reading pod %s/%s: %w", errNoDecision, q.Namespace, q.Name, err)
}

// untaint takes the start-up taint from the node once the plugin is there.
func (a *agent) untaint(ctx context.Context) error {
	if !a.o.RemoveTaint {
		return nil
	}
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		if a.ready.Err() == nil {
			was, err := a.api.Untaint(ctx, a.o.Node)
			if err == nil {
				if was {
					a.log.Info("the node's taint is removed", "node", a.o.Node, "taint", NotReadyTaint)
				}
				return nil
			}
			a.log.Warn("the node's taint is not removed", "node", a.o.Node, "error", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}
