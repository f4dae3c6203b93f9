package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Launcher starts sandboxes.
type Launcher struct {
	// SetupArgs are the arguments with which this binary calls Setup.
	SetupArgs []string
	// Start starts a command in the workload's network namespace, from a thread
	// that lives as long as the sandbox may (intercept.Namespace.Start).
	Start func(*exec.Cmd) error
}

// Sandbox is a running sandbox. Its methods are safe for concurrent use.
type Sandbox struct {
	cmd  *exec.Cmd
	link link
	gone chan struct{} // closed when the sandbox's last process is dead

	mu     sync.Mutex
	lastID int              // guarded by mu
	runs   map[int]*Process // guarded by mu
	lost   bool             // guarded by mu: no more events will come
}

// Process is a program in a sandbox.
type Process struct {
	sandbox *Sandbox
	id      int
	done    chan struct{}
	exit    Exit  // set before done is closed
	err     error // set before done is closed: why it did not run
}

// Stdio are a program's descriptors. They stay the caller's, who may close them
// when Start or Run has returned.
type Stdio struct{ In, Out, Err *os.File }

// New makes a sandbox and waits until it is ready for commands. log, which may be
// nil, gets what the sandbox's init says of its own death.
func (l Launcher) New(spec Spec, log *os.File) (*Sandbox, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "sandbox")
	defer theirs.Close()
	ours, err := newLink(pair[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(Self, l.SetupArgs...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = []string{"GOMAXPROCS=1"}
	if log != nil {
		cmd.Stderr = log // what the runtime says when it dies
	}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
		Setsid:     true, // Ctrl-C is for the mesh, which stops its workloads in order
	}
	if err := l.Start(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a sandbox: %w", err), ours.conn.Close())
	}
	s := &Sandbox{cmd: cmd, link: ours, gone: make(chan struct{}), lastID: mainID - 1, runs: map[int]*Process{}}
	if err := s.handshake(spec); err != nil {
		s.kill()
		err = errors.Join(fmt.Errorf("preparing a sandbox: %w", err), ours.conn.Close())
		_ = cmd.Wait() // it was killed
		return nil, err
	}
	go s.watch()
	return s, nil
}

func (s *Sandbox) handshake(spec Spec) error {
	if err := s.link.send(request{Setup: &spec}); err != nil {
		return err
	}
	var e event
	if _, err := s.link.receive(&e); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("it died; its log says why")
		}
		return err
	}
	if !e.Ready {
		return errors.New(e.Error)
	}
	return nil
}

// watch takes the sandbox's messages until it is gone.
func (s *Sandbox) watch() {
	defer close(s.gone)
	for {
		var e event
		if _, err := s.link.receive(&e); err != nil {
			break
		}
		s.mu.Lock()
		p := s.runs[e.ID]
		delete(s.runs, e.ID)
		s.mu.Unlock()
		if p == nil {
			continue
		}
		if e.Exit != nil {
			p.exit = *e.Exit
		} else {
			p.err = errors.New(e.Error)
		}
		close(p.done)
	}
	s.kill()
	_ = s.cmd.Wait() // how PID 1 ended tells nothing
	s.link.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = true
	for _, p := range s.runs {
		p.exit = Exit{Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL)}
		close(p.done)
	}
	clear(s.runs)
}

// Run starts a command. The first one is the main program: the sandbox ends with
// it. That a program could not be started is told by Process.Err.
func (s *Sandbox) Run(c Command, std Stdio) (*Process, error) {
	s.mu.Lock()
	if s.lost {
		s.mu.Unlock()
		return nil, ErrGone
	}
	s.lastID++
	p := &Process{sandbox: s, id: s.lastID, done: make(chan struct{})}
	s.runs[p.id] = p
	s.mu.Unlock()
	if err := s.link.send(request{ID: p.id, Start: &c}, std.In, std.Out, std.Err); err != nil {
		s.mu.Lock()
		delete(s.runs, p.id)
		s.mu.Unlock()
		return nil, fmt.Errorf("starting a program in a sandbox: %w", err)
	}
	return p, nil
}

// ErrGone says that the sandbox has ended.
var ErrGone = errors.New("the sandbox has ended")

// PID is that of the sandbox's init, in the caller's PID namespace.
func (s *Sandbox) PID() int { return s.cmd.Process.Pid }

// Close kills everything in the sandbox and returns when it is dead.
func (s *Sandbox) Close() {
	s.kill()
	<-s.gone
}

// Gone is closed when the sandbox has ended.
func (s *Sandbox) Gone() <-chan struct{} { return s.gone }

func (s *Sandbox) kill() {
	// An error means that it is dead already.
	_ = s.cmd.Process.Kill()
}

// Done is closed when the program has ended or could not be started.
func (p *Process) Done() <-chan struct{} { return p.done }

// Result waits for the end and tells how the program ended, or the error why it
// did not start.
func (p *Process) Result() (Exit, error) {
	<-p.done
	return p.exit, p.err
}

// Signal sends a signal to the program and its process group; after its end it
// does nothing.
func (p *Process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	return p.sandbox.link.send(request{ID: p.id, Signal: int(sig)})
}
