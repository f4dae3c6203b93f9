package kube

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of Kubernetes' own controllers.
const (
	leaseDuration = 15 * time.Second
	leaseRenewal  = 10 * time.Second
	leaseRetry    = 2 * time.Second
)

// Lead runs f whenever this process holds the Lease of that name in the system
// namespace, until ctx ends. f's context ends when the Lease is lost, which is
// before another process can hold it; f must then return. When ctx ends, the Lease
// is given back once f has returned, so that the next leader need not wait for it
// to run out. Lead returns nil when ctx ends.
func (c *Client) Lead(ctx context.Context, name string, f func(ctx context.Context)) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("leader election %s: %w", name, err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: c.namespace, Name: name},
		Client:     c.typed.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + uuid.NewString()},
	}
	for ctx.Err() == nil {
		if err := c.term(ctx, lock, name, f); err != nil {
			return fmt.Errorf("leader election %s: %w", name, err)
		}
	}
	return nil
}

// term is one candidacy: from the first try for the Lease to its loss.
func (c *Client) term(ctx context.Context, lock resourcelock.Interface, name string, f func(context.Context)) error {
	// The elector outlives ctx by the time that f needs to end.
	holding, release := context.WithCancel(context.WithoutCancel(c.context(ctx)))
	defer release()
	d := &duty{}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: name, ReleaseOnCancel: true,
		LeaseDuration: leaseDuration, RenewDeadline: leaseRenewal, RetryPeriod: leaseRetry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				d.do(func() {
					working, stop := context.WithCancel(held)
					defer stop()
					defer context.AfterFunc(ctx, stop)()
					c.log.Info("leading", "lease", name)
					f(working)
					<-working.Done() // the Lease is held even where f has nothing more to do
					c.log.Info("no longer leading", "lease", name)
				})
			},
			OnStoppedLeading: func() {},
			OnNewLeader:      func(id string) { c.log.Debug("leader seen", "lease", name, "leader", id) },
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(holding)
	}()
	select {
	case <-ended: // the Lease was lost
		d.end()
	case <-ctx.Done():
		d.end()
		release()
		<-ended
	}
	return nil
}

// duty is what a leader does: at most once, and not after end was called.
type duty struct {
	mu   sync.Mutex
	over bool          // guarded by mu
	done chan struct{} // guarded by mu; nil before do
}

func (d *duty) do(f func()) {
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		return
	}
	done := make(chan struct{})
	d.done = done
	d.mu.Unlock()
	defer close(done)
	f()
}

// end waits for what runs and lets nothing start any more.
func (d *duty) end() {
	d.mu.Lock()
	d.over = true
	done := d.done
	d.mu.Unlock()
	if done != nil {
		<-done
	}
}
