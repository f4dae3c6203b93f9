package supervise

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// noticeTime is how long callers get to hear that a pod is not ready any more,
// before its proxy takes no new calls.
const noticeTime = 300 * time.Millisecond

// pod is one replica, from its making to its end.
type pod struct {
	// immutable
	sup     *Supervisor
	spec    PodSpec
	tmpl    *template
	index   int
	created time.Time
	log     *slog.Logger
	cancel  context.CancelFunc // asks the pod to end
	done    chan struct{}      // closed when nothing is left of it
	hurry   chan struct{}      // closed when the mesh ends: no draining, less grace

	hurryOnce  sync.Once
	init, main []*container

	mu          sync.Mutex
	place       Place  // guarded by mu for other goroutines; set once before containers start
	terminating bool   // guarded by mu
	phase       string // guarded by mu: before containers run
	message     string // guarded by mu
}

func (p *pod) changed() { p.sup.poke() }

// grace is the time between SIGTERM and SIGKILL.
func (p *pod) grace() time.Duration {
	grace := time.Duration(p.tmpl.grace) * time.Second
	select {
	case <-p.hurry:
		return min(grace, p.sup.o.StopTime)
	default:
		return grace
	}
}

func (p *pod) say(phase, message string) {
	p.mu.Lock()
	p.phase, p.message = phase, message
	p.mu.Unlock()
	p.changed()
}

// run lives as long as the pod.
func (p *pod) run(ctx context.Context) {
	defer close(p.done)
	place := p.open(ctx)
	if place == nil {
		return
	}
	defer func() {
		if err := place.Close(); err != nil {
			p.log.Warn("pod not taken away cleanly", "error", err)
		}
	}()
	proxy := place.Proxy()
	if proxy != nil {
		if err := proxy.Wait(ctx); err != nil {
			if ctx.Err() == nil {
				p.say(phaseError, err.Error())
				<-ctx.Done()
			}
			return
		}
	}
	for _, c := range p.init {
		if err := c.complete(ctx); err != nil {
			return // ctx ended
		}
	}
	p.say(phaseRunning, "")
	// The containers end after the proxy has drained.
	programs, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	for _, c := range p.main {
		wg.Go(func() { c.run(programs) })
	}
	<-ctx.Done()
	p.drain(proxy)
	stop()
	wg.Wait()
}

// open makes the pod's place, trying again while that fails.
func (p *pod) open(ctx context.Context) Place {
	backoff := firstBackoff
	for {
		place, err := p.sup.o.Runtime.Open(ctx, &p.spec)
		if err == nil {
			p.mu.Lock()
			p.place = place
			p.mu.Unlock()
			p.say(phaseCreating, "waits for its proxy")
			return place
		}
		if ctx.Err() != nil {
			return nil
		}
		p.log.Error("pod cannot be made", "error", err, "retry", backoff)
		p.say(phaseError, err.Error())
		if !sleep(ctx, backoff) {
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// drain tells callers that the pod goes, and lets calls under way end.
func (p *pod) drain(proxy Proxy) {
	p.changed() // it is terminating: not ready
	if proxy == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.grace())
	defer cancel()
	go func() {
		select {
		case <-p.hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	if sleep(ctx, noticeTime) {
		proxy.Drain(ctx)
	}
}

// stop asks the pod to end. In a hurry, nobody waits for calls under way, and
// programs get the Supervisor's StopTime at most.
func (p *pod) stop(hurry bool) {
	p.mu.Lock()
	p.terminating = true
	p.mu.Unlock()
	if hurry {
		p.hurryOnce.Do(func() { close(p.hurry) })
	}
	p.cancel()
}

// ready reports whether every part of the pod is.
func (p *pod) ready() bool {
	n, of := p.parts()
	return n == of
}

// parts counts the ready containers, the proxy among them.
func (p *pod) parts() (ready, all int) {
	p.mu.Lock()
	place, terminating := p.place, p.terminating
	p.mu.Unlock()
	if p.spec.Injected {
		all++
		if place != nil && place.Proxy() != nil && place.Proxy().Ready() && !terminating {
			ready++
		}
	}
	for _, c := range p.main {
		all++
		c.mu.Lock()
		if c.ready && !terminating {
			ready++
		}
		c.mu.Unlock()
	}
	if all == 0 { // neither a program nor a proxy
		return 0, 1
	}
	return ready, all
}

// workload is what the control plane learns of the pod; ok is false before it has
// an address.
func (p *pod) workload() (registry.Workload, bool) {
	p.mu.Lock()
	place, terminating := p.place, p.terminating
	p.mu.Unlock()
	if place == nil {
		return registry.Workload{}, false
	}
	s := &p.spec
	return registry.Workload{
		Name: s.Name, Namespace: s.Namespace, Owner: s.Owner, OwnerKind: "Deployment", ServiceAccount: s.ServiceAccount,
		Labels: s.Labels, Annotations: s.Annotations, Addr: place.Addr(), Ports: s.Ports,
		Ready: p.ready() && !terminating, Proxied: s.Injected, Node: NodeName,
	}, true
}

// Status is a pod as `lateen ps` shows it.
type Status struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Owner     string `json:"owner"`
	Ready     int    `json:"ready"` // parts that are ready
	Parts     int    `json:"parts"` // containers, the proxy among them
	// Containers are the names of the application's containers.
	Containers []string   `json:"containers,omitempty"`
	Init       []string   `json:"initContainers,omitempty"`
	Phase      string     `json:"status"`
	Message    string     `json:"message,omitempty"`
	Restarts   int        `json:"restarts"`
	Created    time.Time  `json:"created"`
	Addr       netip.Addr `json:"ip,omitzero"`
}

func (p *pod) status() Status {
	s := Status{Namespace: p.spec.Namespace, Name: p.spec.Name, Owner: p.spec.Owner, Created: p.created}
	p.mu.Lock()
	s.Phase, s.Message = p.phase, p.message
	place, terminating := p.place, p.terminating
	p.mu.Unlock()
	if place != nil {
		s.Addr = place.Addr()
	}
	s.Ready, s.Parts = p.parts()
	for _, c := range p.main {
		s.Containers = append(s.Containers, c.spec.Name)
	}
	for _, c := range p.init {
		s.Init = append(s.Init, c.spec.Name)
	}
	for _, c := range append(p.init[:len(p.init):len(p.init)], p.main...) {
		c.mu.Lock()
		s.Restarts += c.restarts
		if s.Phase == phaseRunning && c.phase != phaseRunning && c.phase != "" && c.phase != phaseCompleted {
			s.Phase, s.Message = c.phase, c.message
		}
		c.mu.Unlock()
	}
	if terminating {
		s.Phase = "Terminating"
	}
	return s
}

// errNoProgram says that a container has nothing running to act on.
var errNoProgram = errors.New("the container is not running")

// Program gives the running program of a container; "" is the first.
func (p *pod) program(name string) (Program, error) {
	for _, c := range p.main {
		if name == "" || c.spec.Name == name {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.program == nil {
				return nil, errNoProgram
			}
			return c.program, nil
		}
	}
	return nil, errors.New("there is no such container")
}
