package supervise

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/local/sandbox"
)

// Back-off between restarts: Kubernetes' rules with an earlier start, as a
// person waits here.
const (
	firstBackoff = time.Second
	maxBackoff   = 5 * time.Minute
	// goodRun is how long a program must have run for its back-off to start anew.
	goodRun = 10 * time.Minute
)

// Phases of a container, as kubectl shows them.
const (
	phaseCreating    = "ContainerCreating"
	phaseRunning     = "Running"
	phaseCrash       = "CrashLoopBackOff"
	phaseCannotStart = "CreateContainerError"
	phaseCompleted   = "Completed"
	phaseError       = "Error"
)

// container runs one container of a pod, again and again.
type container struct {
	pod  *pod
	spec *corev1.Container

	mu       sync.Mutex
	phase    string  // guarded by mu
	message  string  // guarded by mu: why it is not running
	ready    bool    // guarded by mu
	restarts int     // guarded by mu
	program  Program // guarded by mu; nil while none runs
}

func (c *container) set(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	c.pod.changed()
}

// run keeps the program running until ctx ends, then ends it within the pod's
// grace period.
func (c *container) run(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		started := time.Now()
		message := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) >= goodRun {
			backoff = firstBackoff
		}
		c.pod.log.Warn("container ended", "container", c.spec.Name, "reason", message, "restart", backoff)
		c.set(func() { c.ready, c.phase, c.message = false, phaseCrash, message })
		if !sleep(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, maxBackoff)
		c.set(func() { c.restarts++ })
	}
}

// once runs the program to its end and says how that came.
func (c *container) once(ctx context.Context) string {
	prog, err := c.start()
	if err != nil {
		c.set(func() { c.phase, c.message = phaseCannotStart, err.Error() })
		return err.Error()
	}
	defer prog.Kill()
	c.set(func() {
		c.program, c.phase, c.message, c.ready = prog, phaseRunning, "", c.spec.ReadinessProbe == nil && c.spec.StartupProbe == nil
	})
	defer c.set(func() { c.program, c.ready = nil, false })

	probing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	unhealthy := make(chan error, 1)
	wg.Go(func() { c.probe(probing, prog, unhealthy) })

	select {
	case <-prog.Done():
		return describe(prog.Result())
	case err := <-unhealthy:
		stop()
		c.pod.log.Warn("container is not healthy", "container", c.spec.Name, "error", err)
		c.end(prog)
		return "liveness probe failed: " + err.Error()
	case <-ctx.Done():
		c.end(prog)
		return "stopped"
	}
}

func describe(exit sandbox.Exit, err error) string {
	if err != nil {
		return err.Error()
	}
	return exit.String()
}

// start starts the program with its environment as it is now.
func (c *container) start() (Program, error) {
	pod, place := &c.pod.spec, c.pod.place
	env, err := environment(c.spec, pod, place.Addr(), c.pod.sup.o.Sources)
	if err != nil {
		return nil, err
	}
	path, args, err := program(c.spec, pod.Annotations, env.expand)
	if err != nil {
		return nil, err
	}
	return place.Start(c.spec.Name, sandbox.Command{Path: path, Args: args, Env: env.list(), Dir: c.spec.WorkingDir})
}

// end asks the program to end and kills it when the grace period is over.
func (c *container) end(prog Program) {
	if err := prog.Signal(syscall.SIGTERM); err != nil {
		c.pod.log.Debug("SIGTERM not delivered", "container", c.spec.Name, "error", err)
	}
	t := time.NewTimer(c.pod.grace())
	defer t.Stop()
	hurry := c.pod.hurry
	for {
		select {
		case <-prog.Done():
			return
		case <-t.C:
			c.pod.log.Warn("container killed after its grace period", "container", c.spec.Name)
			return
		case <-hurry:
			hurry = nil
			t.Reset(c.pod.grace())
		}
	}
}

// probe runs the container's probes: startup first, which holds up the others,
// then readiness and liveness side by side.
func (c *container) probe(ctx context.Context, prog Program, unhealthy chan<- error) {
	fail := func(err error) {
		select {
		case unhealthy <- err:
		default:
		}
	}
	if p := c.spec.StartupProbe; p != nil {
		started := false
		c.watch(ctx, p, prog, func(ok bool, err error) bool {
			if started = ok; !ok {
				fail(fmt.Errorf("startup: %w", err))
			}
			return false
		})
		if !started {
			return
		}
		if c.spec.ReadinessProbe == nil {
			c.set(func() { c.ready = true })
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if p := c.spec.ReadinessProbe; p != nil {
		wg.Go(func() {
			c.watch(ctx, p, prog, func(ok bool, err error) bool {
				c.mu.Lock()
				same := c.ready == ok
				c.mu.Unlock()
				if !same {
					c.set(func() { c.ready = ok })
				}
				return true
			})
		})
	}
	if p := c.spec.LivenessProbe; p != nil {
		wg.Go(func() {
			c.watch(ctx, p, prog, func(ok bool, err error) bool {
				if !ok {
					fail(err)
				}
				return ok
			})
		})
	}
}

func (c *container) watch(ctx context.Context, p *corev1.Probe, prog Program, verdict func(bool, error) bool) {
	check, err := newChecker(p, c.spec, c.pod.place, prog)
	if err != nil {
		check = func(context.Context) error { return err }
	}
	watch(ctx, p, check, verdict)
}

// complete runs an init container until it succeeds.
func (c *container) complete(ctx context.Context) error {
	backoff := firstBackoff
	for {
		prog, err := c.start()
		if err == nil {
			c.set(func() { c.phase = phaseRunning })
			select {
			case <-prog.Done():
			case <-ctx.Done():
				prog.Kill()
				return ctx.Err()
			}
			exit, rerr := prog.Result()
			prog.Kill()
			if rerr == nil && exit == (sandbox.Exit{}) {
				c.set(func() { c.phase = phaseCompleted })
				return nil
			}
			err = fmt.Errorf("init container %s: %s", c.spec.Name, strings.TrimSpace(describe(exit, rerr)))
		}
		c.pod.log.Warn("init container failed", "container", c.spec.Name, "error", err, "restart", backoff)
		c.set(func() { c.phase, c.message = phaseCrash, err.Error() })
		if !sleep(ctx, backoff) {
			return ctx.Err()
		}
		backoff = min(2*backoff, maxBackoff)
		c.set(func() { c.restarts++ })
	}
}
