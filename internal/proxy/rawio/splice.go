package rawio

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Splice moves bytes from one socket to another inside the kernel. It pays for
// bulk flows only: on chatty ones a small copy is cheaper, so relays begin with
// copies and change over after several full reads.
//
// It is used by one goroutine, as src's reader and dst's writer.
type Splice struct {
	// immutable
	dst, src *Conn
	in, out  func(fd uintptr) bool

	pipe *pipe // borrowed while it may hold bytes
	n    int   // bytes in the pipe
	errn syscall.Errno
}

// NewSplice makes a splice of one direction.
func NewSplice(dst, src *Conn) *Splice {
	s := &Splice{dst: dst, src: src}
	s.in, s.out = s.fill, s.drain
	return s
}

// Move waits until src can be read, moves what it has, and returns the number of
// bytes that dst took. io.EOF is src's half-close; other errors say which side
// failed. No pipe is held between calls.
func (s *Splice) Move() (int64, error) {
	defer s.giveBack()
	var total int64
	for {
		s.errn = 0
		if err := s.fillOnce(total > 0); err != nil {
			return total, fmt.Errorf("splice from %s: %w", s.src.remote, err)
		}
		switch {
		case s.errn == unix.EAGAIN:
			return total, nil
		case s.errn != 0:
			return total, fmt.Errorf("splice from %s: %w", s.src.remote, s.errn)
		case s.n == 0:
			if total > 0 {
				return total, nil // the next call meets the end again
			}
			return 0, io.EOF
		}
		want := s.n
		err := s.dst.raw.Write(s.out)
		total += int64(want - s.n)
		if err != nil {
			return total, fmt.Errorf("splice to %s: %w", s.dst.remote, pollError(err))
		}
		if s.errn != 0 {
			return total, fmt.Errorf("splice to %s: %w", s.dst.remote, s.errn)
		}
	}
}

// fillOnce fills the pipe; with try it does not wait.
func (s *Splice) fillOnce(try bool) error {
	var err error
	if try {
		err = s.src.raw.Control(func(fd uintptr) {
			if !s.fill(fd) {
				s.errn = unix.EAGAIN
			}
		})
	} else {
		err = s.src.raw.Read(s.in)
	}
	if err != nil {
		return pollError(err)
	}
	return nil
}

// fill moves from the socket to the pipe, which it borrows only for a socket that
// has bytes.
func (s *Splice) fill(fd uintptr) bool {
	if s.pipe == nil {
		p, err := takePipe()
		if err != nil {
			s.errn = unix.EMFILE
			return true
		}
		s.pipe = p
	}
	n, errno := sysSplice(int(fd), s.pipe.w)
	switch {
	case errno == unix.EAGAIN:
		s.giveBack()
		return false
	case errno != 0:
		s.errn = errno
		return true
	}
	s.n = n
	return true
}

// drain moves all that the pipe holds to the socket.
func (s *Splice) drain(fd uintptr) bool {
	for s.n > 0 {
		n, errno := sysSplice(s.pipe.r, int(fd))
		if errno == unix.EAGAIN {
			return false
		}
		if errno != 0 {
			s.errn = errno
			return true
		}
		s.n -= n
	}
	return true
}

// giveBack returns an empty pipe to the pool; one that holds bytes is closed.
func (s *Splice) giveBack() {
	if s.pipe == nil {
		return
	}
	if s.n == 0 {
		pipes.Put(s.pipe)
	} else {
		s.pipe.close()
	}
	s.pipe, s.n = nil, 0
}

// pipe is a kernel pipe. The pool drops pipes at will; a cleanup closes those.
type pipe struct {
	r, w    int
	cleanup runtime.Cleanup
}

// pipes holds empty pipes: memory of the kernel, no state.
var pipes sync.Pool

func takePipe() (*pipe, error) {
	if p, ok := pipes.Get().(*pipe); ok {
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	// A larger pipe saves calls. The kernel may refuse it to ordinary users who
	// have many; the default size works too.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, maxCall)
	p := &pipe{r: fds[0], w: fds[1]}
	p.cleanup = runtime.AddCleanup(p, closePipe, fds)
	return p, nil
}

func (p *pipe) close() {
	p.cleanup.Stop()
	closePipe([2]int{p.r, p.w})
}

func closePipe(fds [2]int) {
	unix.Close(fds[0])
	unix.Close(fds[1])
}
