package load

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/lateen-mesh/lateen/bench/poll"
)

// drain takes what a server sends, as fast as it comes, without copying it.
func drain(s Spec, begin func() error) (Result, error) {
	runtime.LockOSThread()
	p, err := poll.New()
	if err != nil {
		return Result{}, err
	}
	for range s.Connections {
		fd, err := poll.Dial(s.Addr)
		if err != nil {
			return Result{}, err
		}
		if err := p.Add(fd, false); err != nil {
			return Result{}, err
		}
	}
	var r Result
	if err := begin(); err != nil {
		return r, err
	}
	start := time.Now()
	for time.Since(start) < s.Length {
		var failed error
		err := p.Wait(s.Length, func(e poll.Event) {
			n, again, err := poll.Discard(e.FD, 1<<20)
			switch {
			case again:
			case err != nil:
				failed = fmt.Errorf("receiving: %w", err)
			case n == 0:
				failed = errors.New("the proxy closed a connection")
			}
			r.Bytes += int64(n)
		})
		if err != nil {
			return r, err
		}
		if failed != nil {
			return r, failed
		}
	}
	if r.Bytes == 0 {
		return r, errors.New("no byte came")
	}
	r.Elapsed = time.Since(start)
	return r, nil
}
