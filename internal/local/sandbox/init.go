package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Init is PID 1 of a sandbox, without privileges. It returns when the main
// program has ended, or when the mesh is gone.
func Init() error {
	unix.CloseOnExec(socketFD)
	l, err := newLink(socketFD)
	if err != nil {
		return err
	}
	p := &pid1{link: l, ids: map[int]int{}, pids: map[int]int{}, over: make(chan struct{})}
	// A signal for PID 1 is meant for the program.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	go func() {
		for s := range signals {
			p.signal(mainID, s.(syscall.Signal))
		}
	}()
	go func() {
		for range children {
			p.reap()
		}
	}()
	lost := make(chan error, 1)
	go func() { lost <- p.serve() }()
	if err := l.send(event{Ready: true}); err != nil {
		return err
	}
	select {
	case <-p.over:
		return nil
	case err := <-lost:
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
}

type pid1 struct {
	link link
	over chan struct{} // closed when the main program has ended

	mu   sync.Mutex
	ids  map[int]int // guarded by mu: command by process
	pids map[int]int // guarded by mu: process by command
}

func (p *pid1) serve() error {
	for {
		var r request
		files, err := p.link.receive(&r)
		if err != nil {
			return err
		}
		switch {
		case r.Start != nil:
			err = p.start(r.ID, r.Start, files)
		case r.Signal != 0:
			p.signal(r.ID, syscall.Signal(r.Signal))
		}
		closeAll(files)
		if err != nil {
			return err
		}
	}
}

// start answers for the command: nothing now if it runs, its exit later.
func (p *pid1) start(id int, c *Command, files []*os.File) error {
	err := p.fork(id, c, files)
	if err == nil {
		return nil
	}
	if id == mainID {
		defer close(p.over)
	}
	return p.link.send(event{ID: id, Error: err.Error()})
}

func (p *pid1) fork(id int, c *Command, files []*os.File) error {
	if len(files) != 3 {
		return fmt.Errorf("%d descriptors for the program, want 3", len(files))
	}
	path, err := lookPath(c.Path, c.Env)
	if err != nil {
		return err
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	attr := &syscall.ProcAttr{Dir: dir, Env: c.Env, Sys: &syscall.SysProcAttr{Setsid: true}}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	// Held over the fork, so that the child is known before it is reaped.
	p.mu.Lock()
	defer p.mu.Unlock()
	pid, err := syscall.ForkExec(path, c.Args, attr)
	if err != nil {
		return fmt.Errorf("starting %s: %w", c.Args[0], err)
	}
	p.ids[pid], p.pids[id] = id, pid
	return nil
}

// lookPath finds a program as a shell does, by the program's own PATH.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := defaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		if info, err := os.Stat(full); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// signal signals a command's process group. One that has ended is no error.
func (p *pid1) signal(id int, s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pid, ok := p.pids[id]; ok {
		// The group first: a shell's children should hear it too.
		if err := unix.Kill(-pid, s); err != nil {
			_ = unix.Kill(pid, s) // gone: reap will tell
		}
	}
}

// reap collects every child that has ended: commands, and orphans that became
// PID 1's.
func (p *pid1) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 || err != nil {
			return
		}
		p.mu.Lock()
		id, ok := p.ids[pid]
		delete(p.ids, pid)
		delete(p.pids, id)
		p.mu.Unlock()
		if ok {
			p.exited(id, status)
		}
	}
}

func (p *pid1) exited(id int, status syscall.WaitStatus) {
	e := Exit{Code: status.ExitStatus()}
	if status.Signaled() {
		e = Exit{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	}
	// A mesh that is gone is noticed by serve.
	_ = p.link.send(event{ID: id, Exit: &e})
	if id == mainID {
		close(p.over)
	}
}
