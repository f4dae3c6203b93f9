package intercept

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// Namespace is a network namespace with a thread of its own in it. A socket
// belongs to the namespace of the thread that made it, whoever uses it later; a
// child process starts in the namespace of the thread that started it. So one
// process serves many namespaces.
//
// The thread must never wait: it makes sockets and starts processes, nothing
// else. It lives until Close: children that it started may die with it
// (Pdeathsig).
type Namespace struct {
	file *os.File
	work chan func()

	mu     sync.Mutex
	closed bool // guarded by mu
}

// NewNamespace makes a network namespace with its loopback interface up.
func NewNamespace() (*Namespace, error) {
	n, err := start(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	if err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	if err := n.Do(func() error { return linkUp("lo") }); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// OpenNamespace enters a namespace that somebody else made, by a descriptor of
// it. The descriptor stays the caller's.
func OpenNamespace(fd int) (*Namespace, error) {
	n, err := start(func() error { return unix.Setns(fd, unix.CLONE_NEWNET) })
	if err != nil {
		return nil, fmt.Errorf("entering a network namespace: %w", err)
	}
	return n, nil
}

// start makes a locked thread, moves it with enter, and leaves it at work.
func start(enter func() error) (*Namespace, error) {
	n := &Namespace{work: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread cannot go back, so it ends with the goroutine.
		runtime.LockOSThread()
		if err := enter(); err != nil {
			ready <- err
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			ready <- err
			return
		}
		n.file = f
		ready <- nil
		for f := range n.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return n, nil
}

// ErrClosed is returned by the methods of a closed Namespace.
var ErrClosed = errors.New("the network namespace is closed")

// Do runs f on the namespace's thread. f must not wait for anything but the
// kernel.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return ErrClosed
	}
	n.work <- func() { done <- f() }
	n.mu.Unlock()
	return <-done
}

// File is the namespace's descriptor, to hand to a child process or to move a
// link. It stays the Namespace's.
func (n *Namespace) File() *os.File { return n.file }

// Start starts a command in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Close ends the thread. The namespace itself ends with its last process and
// descriptor.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	close(n.work)
	return n.file.Close()
}

// Sockets makes sockets in the namespace, marked so that redirection lets them
// pass.
func (n *Namespace) Sockets() rawio.Sockets { return nsSockets{n} }

type nsSockets struct{ n *Namespace }

func (s nsSockets) Listen(addr netip.AddrPort) (fds []int, err error) {
	err = s.n.Do(func() error {
		fds, err = rawio.HostSockets{}.Listen(addr)
		return err
	})
	return fds, err
}

func (s nsSockets) Dial(remote netip.AddrPort) (fd int, err error) {
	err = s.n.Do(func() error {
		fd, err = rawio.HostSockets{Mark: Mark}.Dial(remote)
		return err
	})
	return fd, err
}
