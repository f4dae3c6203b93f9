package rawio

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Watch tells when peers close their direction, without a system call per
// request and without a reader per connection: a second epoll instance, edge
// triggered, itself parked in the runtime's poller. One Watch serves a process.
//
// A goroutine that waits for an answer from upstream does not see its client
// leave, and an idle pooled connection has no reader; both are registered here.
type Watch struct {
	// immutable
	file *os.File
	raw  syscall.RawConn
	done chan struct{}

	mu    sync.Mutex
	slots []watchSlot // guarded by mu
	free  []uint32    // guarded by mu
}

// watchSlot is one registration. The generation tells a late event of a closed
// descriptor from one of its successor.
type watchSlot struct {
	gen      uint32
	f        func() // the peer has gone
	readable func() // set by Await
}

// NewWatch starts a watch; Close ends it.
func NewWatch() (*Watch, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// An epoll descriptor is readable when it has events, so the poller can watch
	// it; it must look non-blocking to be taken.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &Watch{file: os.NewFile(uintptr(epfd), "hang-up watch"), done: make(chan struct{})}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("hang-up watch: %w", err)
	}
	go func() {
		defer close(w.done)
		events := make([]unix.EpollEvent, 128)
		// Read returns when the file is closed.
		_ = w.raw.Read(func(fd uintptr) bool { return w.drain(int(fd), events) })
	}()
	return w, nil
}

// Close ends the watch; nothing is told afterwards.
func (w *Watch) Close() error {
	err := w.file.Close()
	<-w.done
	return err
}

// drain handles the events that are there. It always goes on waiting, unless the
// descriptor is broken.
func (w *Watch) drain(epfd int, events []unix.EpollEvent) (stop bool) {
	for {
		n, err := unix.EpollWait(epfd, events, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return true
		}
		for i := range events[:n] {
			w.fire(uint32(events[i].Fd), uint32(events[i].Pad), events[i].Events)
		}
		if n < len(events) {
			return false
		}
	}
}

func (w *Watch) fire(slot, gen, what uint32) {
	w.mu.Lock()
	var f, readable func()
	if s := &w.slots[slot]; s.gen == gen {
		readable, s.readable = s.readable, nil
		if what&^unix.EPOLLIN != 0 {
			f, s.f = s.f, nil
		}
	}
	w.mu.Unlock()
	if f != nil {
		f()
	}
	if readable != nil {
		readable()
	}
}

// Add calls f once when t's peer closes its direction or resets the connection.
// f runs on the watch's goroutine (a pipe's peer's, for transports in memory) and
// must not block. stop ends the interest; f may still be running when it returns.
// Closing the connection ends it too. A nil Watch watches pipes in memory only.
func (w *Watch) Add(t Transport, f func()) (stop func(), err error) {
	c := RawConn(t)
	if c == nil {
		if n, ok := t.(HangupNotifier); ok {
			return n.NotifyHangup(f), nil
		}
		return func() {}, nil
	}
	if w == nil {
		return func() {}, nil
	}
	slot, gen := w.take(f)
	stop = func() { w.release(slot, gen) }
	if err := w.register(c, interest(slot, gen, 0)); err != nil {
		stop()
		return func() {}, fmt.Errorf("hang-up watch: %w", err)
	}
	c.mu.Lock()
	c.watch, c.slot, c.gen = w, slot, gen
	c.mu.Unlock()
	return stop, nil
}

// interest is what the kernel is asked to tell of a socket: hang-ups, and more.
func interest(slot, gen, more uint32) *unix.EpollEvent {
	return &unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1) | more, Fd: int32(slot), Pad: int32(gen)}
}

// register adds c's descriptor, or gives it its new slot where it was added
// before. Both descriptors are held open meanwhile.
func (w *Watch) register(c *Conn, ev *unix.EpollEvent) error {
	var err error
	perr := w.raw.Control(func(epfd uintptr) {
		err = c.control("epoll_ctl", func(fd int) error {
			err := unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, fd, ev)
			if err == unix.EEXIST {
				err = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_MOD, fd, ev)
			}
			return err
		})
	})
	if perr != nil {
		return pollError(perr)
	}
	return err
}

func (w *Watch) take(f func()) (slot, gen uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.free); n > 0 {
		slot = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		slot = uint32(len(w.slots))
		w.slots = append(w.slots, watchSlot{})
	}
	s := &w.slots[slot]
	s.f = f
	return slot, s.gen
}

// release frees a slot, if it is still the registration's. The descriptor stays in
// the epoll set until it is closed; its event, should it come, finds another
// generation.
func (w *Watch) release(slot, gen uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.slots[slot]
	if s.gen != gen {
		return
	}
	s.gen++
	s.f, s.readable = nil, nil
	w.free = append(w.free, slot)
}
