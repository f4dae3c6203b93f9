package pipe_test

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

func TestHalfClose(t *testing.T) {
	a, b := pipe.New()
	a.Write([]byte("one"))
	a.CloseWrite()
	if got, err := io.ReadAll(b); string(got) != "one" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	b.Write([]byte("two"))
	b.Close()
	if got, err := io.ReadAll(a); string(got) != "two" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after our FIN: %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, rawio.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func TestBufferIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe.New()
		n := make(chan int, 1)
		go func() {
			a.SetDeadline(time.Now().Add(time.Second))
			k, err := a.Write(make([]byte, 3*pipe.Size))
			if !rawio.IsTimeout(err) {
				t.Errorf("write: %v", err)
			}
			n <- k
		}()
		synctest.Wait()
		buf := make([]byte, 100)
		if k, err := b.Read(buf); k != 100 || err != nil {
			t.Errorf("read %d, %v", k, err)
		}
		if k := <-n; k != pipe.Size+100 {
			t.Errorf("wrote %d", k)
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe.New()
		a.Script(pipe.Fault{After: 3, Stall: time.Minute}, pipe.Fault{After: 5, FIN: true})
		start := time.Now()
		n, err := a.Write([]byte("0123456789"))
		if n != 5 || !errors.Is(err, syscall.EPIPE) || time.Since(start) != time.Minute {
			t.Errorf("wrote %d, %v after %v", n, err, time.Since(start))
		}
		b.ShortReads(2)
		if k, _ := b.Read(make([]byte, 10)); k != 2 {
			t.Errorf("a short read of %d", k)
		}
		if rest, err := io.ReadAll(b); string(rest) != "234" || err != nil {
			t.Errorf("read %q, %v", rest, err)
		}
		b.Script(pipe.Fault{After: 1, Reset: true})
		if n, err := b.Write([]byte("ab")); n != 1 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("wrote %d, %v", n, err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after a reset: %v", err)
		}
	})
}

func TestNotifyHangup(t *testing.T) {
	for name, leave := range map[string]func(*pipe.End) error{
		"close": (*pipe.End).Close, "half-close": (*pipe.End).CloseWrite, "reset": func(e *pipe.End) error { e.Reset(); return nil },
	} {
		a, b := pipe.New()
		told, stopped := 0, 0
		b.NotifyHangup(func() { told++ })
		b.NotifyHangup(func() { stopped++ })()
		leave(a)
		leave(a)
		b.NotifyHangup(func() { told += 10 })
		if told != 11 || stopped != 0 {
			t.Errorf("%s: told %d, stopped %d", name, told, stopped)
		}
	}
}

func TestDeadlineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := pipe.New()
		start := time.Now()
		a.SetReadDeadline(start.Add(time.Second))
		a.SetReadDeadline(start.Add(time.Minute))
		if _, err := a.Read(make([]byte, 1)); !rawio.IsTimeout(err) || time.Since(start) != time.Minute {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
		a.SetReadDeadline(time.Time{})
		go func() { time.Sleep(time.Hour); a.Close() }()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, rawio.ErrClosed) {
			t.Errorf("read: %v", err)
		}
	})
}
