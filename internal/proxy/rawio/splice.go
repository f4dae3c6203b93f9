package rawio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

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
	err  error
}

// NewSplice makes a splice of one direction.
func NewSplice(dst, src *Conn) *Splice {
	s := &Splice{dst: dst, src: src}
	s.in, s.out = s.fill, s.drain
	return s
}

// errNoPipe says that the process has no descriptors for a pipe. No byte was lost.
var errNoPipe = errors.New("no pipe for splicing")

// Move waits until src can be read, moves what it has, at most a pipe's fill, and
// returns the number of bytes that dst took. io.EOF is src's half-close; writing
// says that another error is dst's. No pipe is held between calls.
func (s *Splice) Move() (n int, writing bool, err error) {
	defer s.giveBack()
	s.err = nil
	if err = s.src.raw.Read(s.in); err != nil {
		err = pollError(err)
	} else {
		err = s.err
	}
	if err != nil {
		return 0, false, fmt.Errorf("splice from %s: %w", s.src.remote, err)
	}
	if s.n == 0 {
		return 0, false, io.EOF
	}
	want := s.n
	if err = s.dst.raw.Write(s.out); err != nil {
		err = pollError(err)
	} else {
		err = s.err
	}
	if err != nil {
		err = fmt.Errorf("splice to %s: %w", s.dst.remote, err)
	}
	return want - s.n, true, err
}

// fill moves from the socket to the pipe, which it borrows only for a socket that
// has bytes.
func (s *Splice) fill(fd uintptr) bool {
	if s.pipe == nil {
		p, err := takePipe()
		if err != nil {
			s.err = fmt.Errorf("%w: %w", errNoPipe, err)
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
		s.err = errno
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
			s.err = errno
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
