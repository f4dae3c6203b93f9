package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The policy of restarts: an Envoy that dies is started again after a pause that
// grows; one that dies again and again makes the agent give up, so that whoever
// started the agent sees it.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
	mostRestarts = 10
	soundAfter   = time.Minute // an Envoy that lived so long counts as sound
)

// supervise keeps an Envoy running until ctx ends; then it drains and stops it.
func (a *agent) supervise(ctx context.Context) error {
	pause := firstPause
	a.life.Begin(draining{a})
	for died := 0; ; {
		started := time.Now()
		exited, stop, err := a.start()
		if err != nil {
			return fmt.Errorf("agent: starting Envoy: %w", err)
		}
		select {
		case err := <-exited:
			a.ready.Set("envoy", "it is not running")
			if ctx.Err() != nil {
				return nil
			}
			if time.Since(started) > soundAfter {
				died, pause = 0, firstPause
			}
			if died++; died > mostRestarts {
				return fmt.Errorf("agent: Envoy ended %d times in a row: %w", died, orExit(err))
			}
			a.o.Log.Error("the Envoy ended; it is started again", "err", orExit(err), "after", pause, "times", died)
		case <-ctx.Done():
			a.shutDown(exited, stop)
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, longestPause)
	}
}

// orExit names an end without an error.
func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// start starts an Envoy. exited gets its end; stop sends it a signal.
func (a *agent) start() (exited <-chan error, stop func(syscall.Signal), err error) {
	cmd := exec.Command(a.o.EnvoyPath,
		"-c", filepath.Join(a.o.RuntimeDir, bootstrapFile),
		"--drain-time-s", strconv.Itoa(max(1, int(a.o.Drain/time.Second))), "--drain-strategy", "immediate",
		"--disable-hot-restart", "--concurrency", strconv.Itoa(a.o.Concurrency), "--log-level", a.o.EnvoyLogLevel,
		"--component-log-level", "misc:error", // no word on each deprecated field that Istio's configuration has
		"--local-address-ip-version", "v4", "--file-flush-interval-msec", "1000",
	)
	cmd.Stdout, cmd.Stderr = a.o.Stdout, a.o.Stderr
	// No Envoy outlives its agent, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started, done := make(chan error, 1), make(chan error, 1)
	go func() { // ends with the Envoy
		// The signal comes when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, nil, err
	}
	a.o.Log.Info("envoy started", "pid", cmd.Process.Pid)
	return done, func(s syscall.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			a.o.Log.Debug("no signal to the Envoy", "signal", s, "err", err) // it has ended
		}
	}, nil
}

// shutDown drains the Envoy as its life says; then it is asked to end, and killed if it
// does not.
func (a *agent) shutDown(exited <-chan error, stop func(syscall.Signal)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	gone := make(chan struct{})
	go func() { // ends with the Envoy, which ends below
		defer close(gone)
		<-exited
		cancel() // what has ended needs no draining
	}()
	a.life.End(ctx)
	stop(syscall.SIGTERM)
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		stop(syscall.SIGKILL)
		<-gone
	}
}

// draining is the Envoy as what ends.
type draining struct{ a *agent }

// easeTimeout bounds the call that begins the end.
const easeTimeout = 2 * time.Second

// inbound reports whether only inbound connections drain: a sidecar's application may
// still need the others.
func (d draining) inbound() bool { return !strings.HasPrefix(d.a.o.Node.GetId(), "router~") }

// Ease implements life.Proxy.
func (d draining) Ease() {
	ctx, cancel := context.WithTimeout(context.Background(), easeTimeout)
	defer cancel()
	d.a.ready.Set("envoy", "it is draining")
	var err error
	if d.a.o.Pod != nil {
		err = d.a.admin.drain(ctx, d.inbound(), true)
	} else {
		err = d.a.admin.drain(ctx, false, false)
	}
	if err != nil {
		d.a.o.Log.Warn("the Envoy does not drain", "err", err)
	}
}

// Drain implements life.Proxy.
func (d draining) Drain(ctx context.Context) {
	if d.a.o.Pod != nil {
		if err := d.a.admin.stop(ctx, d.inbound()); err != nil {
			d.a.o.Log.Warn("the Envoy takes connections on", "err", err)
		}
	}
	for d.count(ctx) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Connections implements life.Proxy.
func (d draining) Connections() int {
	ctx, cancel := context.WithTimeout(context.Background(), easeTimeout)
	defer cancel()
	return d.count(ctx)
}

// count is 0 for an Envoy that does not answer: there is nothing to wait for.
func (d draining) count(ctx context.Context) int {
	n, err := d.a.admin.active(ctx)
	if err != nil {
		d.a.o.Log.Debug("the Envoy does not count its connections", "err", err)
	}
	return n
}
