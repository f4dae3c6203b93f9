package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/local/sandbox"
)

// Variables for the process that a starting `lateen up` becomes or leaves behind.
const (
	innerVariable    = "LATEEN_UP_INNER"    // it is where the mesh shall run
	detachedVariable = "LATEEN_UP_DETACHED" // descriptor 3 takes its progress
)

// inner makes the command that runs the mesh: this one again.
func (f *upFlags) inner(dirs local.Dirs) *exec.Cmd {
	cmd := exec.Command(sandbox.Self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), innerVariable+"=1", "LATEEN_NAME="+f.mesh.name)
	cmd.Env = append(cmd.Env, dirs.Environ()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if local.NeedsUserNamespace() {
		local.InUserNamespace(cmd)
	}
	return cmd
}

// startInNamespace runs the mesh in a user namespace and waits for its end.
func (f *upFlags) startInNamespace(ctx context.Context, env *Env, dirs local.Dirs) error {
	cmd := f.inner(dirs)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The mesh dies with this command, that is, with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return local.ExplainStart(err)
	}
	stop := context.AfterFunc(ctx, func() {
		// With Ctrl-C the terminal has told it already; twice does no harm.
		_ = cmd.Process.Signal(syscall.SIGTERM)
	})
	defer stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		// It has printed why.
		return &ExitError{Code: max(exit.ExitCode(), 1), Err: errSilent}
	}
	return err
}

// startDetached starts the mesh in the background and returns when it is ready.
func (f *upFlags) startDetached(ctx context.Context, env *Env, dirs local.Dirs) error {
	if dirs.Running() {
		return fmt.Errorf("mesh %q: %w; end it with `lateen down --name %s`", f.mesh.name, local.ErrRunning, f.mesh.name)
	}
	if err := os.MkdirAll(filepath.Dir(upLog(dirs)), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(upLog(dirs), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := f.inner(dirs)
	cmd.Env = append(cmd.Env, detachedVariable+"=1")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{w}
	cmd.SysProcAttr.Setsid = true
	err = cmd.Start()
	w.Close()
	if err != nil {
		return local.ExplainStart(err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // its pipe tells its end
	})
	defer stop()
	return f.follow(ctx, env, r, cmd, dirs)
}

// follow prints the progress of a mesh in the background until it is ready.
func (f *upFlags) follow(ctx context.Context, env *Env, progress io.Reader, cmd *exec.Cmd, dirs local.Dirs) error {
	d := json.NewDecoder(progress)
	for {
		var m upMessage
		err := d.Decode(&m)
		switch {
		case err != nil:
			// It ended without a word.
			werr := cmd.Wait()
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return fmt.Errorf("the mesh ended while it started (%v); its log is %s", werr, upLog(dirs))
		case m.Step != "":
			fmt.Fprintln(env.Err, m.Step)
		case m.Error != "":
			_ = cmd.Wait() // the message says more than its exit code
			return errors.New(m.Error)
		case m.Ready != nil:
			f.report(env, *m.Ready, m.Problems)
			return cmd.Process.Release()
		}
	}
}

// passSignals gives the signals that are meant for a command in a workload. stop
// ends that.
func passSignals() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGWINCH)
	return c, func() { signal.Stop(c) }
}
