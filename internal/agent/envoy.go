package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
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

// shutDown drains the Envoy: no new connections, what is under way may end within
// the drain time; then it is asked to end, and killed if it does not.
func (a *agent) shutDown(exited <-chan error, stop func(syscall.Signal)) {
	a.ready.Set("envoy", "it is draining")
	a.o.Log.Info("draining the Envoy", "for", a.o.Drain)
	ctx, cancel := context.WithTimeout(context.Background(), a.o.Drain)
	defer cancel()
	err := a.admin.drain(ctx)
	for err == nil {
		var n int
		if n, err = a.admin.active(ctx); n == 0 {
			break
		}
		select {
		case <-exited:
			return
		case <-ctx.Done():
			err = fmt.Errorf("%d connections are still open", n)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err != nil {
		a.o.Log.Warn("the Envoy is stopped before it was drained", "err", err)
	}
	stop(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(5 * time.Second):
		stop(syscall.SIGKILL)
		<-exited
	}
}
