package control

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// copyLog sends a file's last lines, and follows it, also when it is replaced by a
// new one.
func copyLog(ctx context.Context, path string, o LogOptions, send func([]byte) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !o.Follow {
		return nil // nothing was written yet
	}
	for errors.Is(err, fs.ErrNotExist) {
		if !pause(ctx) {
			return nil
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if o.Tail >= 0 {
		if err := seekTail(f, o.Tail); err != nil {
			return err
		}
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
			continue
		}
		if err != nil && err != io.EOF {
			return err
		}
		if !o.Follow || !pause(ctx) {
			return nil
		}
		if next := replaced(f, path); next != nil {
			f.Close()
			f = next
		}
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pollLog):
		return true
	}
}

// replaced opens the file that took the place of f, if another did and f is read
// to its end.
func replaced(f *os.File, path string) *os.File {
	at, err1 := f.Seek(0, io.SeekCurrent)
	old, err2 := f.Stat()
	now, err3 := os.Stat(path)
	if err1 != nil || err2 != nil || err3 != nil || os.SameFile(old, now) || at < old.Size() {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil // replaced again: the next look finds it
	}
	return next
}

// seekTail goes to the start of the last n lines.
func seekTail(f *os.File, n int) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return err
	}
	const block = 64 << 10
	buf := make([]byte, block)
	at, seen := end, 0
	for at > 0 {
		size := min(at, block)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 { // the last line's own end does not count
				continue
			}
			if seen++; seen == n {
				_, err := f.Seek(at+i+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
