package cni

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// RepairMode says what is done about a pod that started without redirection.
type RepairMode string

const (
	RepairOff    RepairMode = "off"
	RepairPods   RepairMode = "repair" // redirect it now
	RepairDelete RepairMode = "delete" // its owner makes a new one
	RepairLabel  RepairMode = "label"  // somebody else cares
)

// validationFailed is the exit code of the container that checks redirection
// before others start.
const validationFailed = 126

// repairer finds pods that should be redirected and are not: they started before
// the plugin was there, or with the failure policy Ignore.
type repairer struct {
	o       Options
	api     *API
	log     *slog.Logger
	metrics *metrics
	find    namespaces // owned by run

	mu    sync.Mutex
	known map[string]bool // guarded by mu; UIDs of pods that are redirected or dealt with
}

func newRepairer(o Options, m *metrics) *repairer {
	return &repairer{o: o, api: o.API, log: o.Log, metrics: m, find: namespaces{dir: o.NetnsDir}, known: map[string]bool{}}
}

// know notes a pod that needs no more attention.
func (r *repairer) know(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[uid] = true
}

func (r *repairer) knows(uid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[uid]
}

func (r *repairer) forget(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, uid)
}

// run watches the node's pods until ctx ends. A pod that could not be dealt with
// is tried again when the watch is made anew.
func (r *repairer) run(ctx context.Context) error {
	if r.o.Repair == RepairOff {
		return nil
	}
	for ctx.Err() == nil {
		seen := map[string]bool{}
		wait := time.Second
		err := r.api.WatchPods(ctx, r.o.Node, func(p *Pod, deleted bool) {
			seen[p.Metadata.UID] = true
			if deleted {
				r.forget(p.Metadata.UID)
				return
			}
			r.look(ctx, p)
		})
		if err != nil && ctx.Err() == nil {
			r.log.Warn("watching for pods without redirection", "error", err)
			wait = 10 * time.Second
		} else {
			r.keep(seen)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return nil
}

// keep forgets pods that are gone.
func (r *repairer) keep(seen map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.known, func(uid string, _ bool) bool { return !seen[uid] })
}

// look deals with a pod, if it must be.
func (r *repairer) look(ctx context.Context, p *Pod) {
	if r.knows(p.Metadata.UID) || p.Metadata.DeletionTimestamp != "" || p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" || len(p.Status.PodIPs) == 0 {
		return
	}
	d, err := Decide(p, r.o.ExcludeNamespaces)
	if err != nil {
		r.log.Warn("a pod's redirection is not known", "pod", p.String(), "error", err)
		return
	}
	if d.Options == nil {
		r.know(p.Metadata.UID)
		return
	}
	ns, err := r.find.open(p)
	if err == nil {
		defer ns.Close()
		present := false
		err := ns.Do(func() (err error) {
			present, err = intercept.Present()
			return err
		})
		if err != nil {
			r.log.Warn("a pod cannot be checked for redirection", "pod", p.String(), "error", err)
			return
		}
		if present { // by us or an earlier version: that is not for repair
			r.know(p.Metadata.UID)
			return
		}
	} else if !validationExit(p) {
		r.log.Warn("a pod cannot be checked for redirection", "pod", p.String(), "error", err)
		return
	}
	r.log.Warn("a pod started without redirection", "pod", p.String(), "repair", string(r.o.Repair))
	if err := r.deal(ctx, p, ns, *d.Options); err != nil {
		r.metrics.repaired.WithLabelValues(string(r.o.Repair), "failure").Inc()
		r.log.Error("a pod without redirection is not repaired", "pod", p.String(), "repair", string(r.o.Repair), "error", err)
		return
	}
	r.metrics.repaired.WithLabelValues(string(r.o.Repair), "success").Inc()
	r.log.Info("a pod without redirection is dealt with", "pod", p.String(), "repair", string(r.o.Repair))
	r.know(p.Metadata.UID)
}

func (r *repairer) deal(ctx context.Context, p *Pod, ns *intercept.Namespace, o intercept.PodOptions) error {
	switch r.o.Repair {
	case RepairPods:
		if ns == nil {
			return fmt.Errorf("its network namespace is not found in %s", r.o.NetnsDir)
		}
		return ns.Do(func() error { return intercept.Install(o) })
	case RepairDelete:
		return r.api.DeletePod(ctx, p)
	case RepairLabel:
		key, value, _ := strings.Cut(r.o.RepairLabel, "=")
		return r.api.LabelPod(ctx, p, key, value)
	}
	return fmt.Errorf("there is no repair %q", r.o.Repair)
}

// validationExit tells whether the pod's check before start found no redirection.
// Its current end counts only if it is not a good one.
func validationExit(p *Pod) bool {
	for _, c := range p.Status.InitContainerStatuses {
		if c.Name != validationContainer {
			continue
		}
		now, last := c.State.Terminated, c.LastState.Terminated
		if now != nil && now.ExitCode == 0 {
			return false
		}
		return now != nil && now.ExitCode == validationFailed || last != nil && last.ExitCode == validationFailed
	}
	return false
}
