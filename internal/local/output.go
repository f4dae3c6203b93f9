package local

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// maxLog is the size at which a log file is put aside; one old file is kept, as
// NAME.1.
const maxLog = 10 << 20

// output is a log file of bounded size. It is safe for concurrent use.
type output struct {
	path string

	mu   sync.Mutex
	file *os.File // guarded by mu
	size int64    // guarded by mu
}

func openOutput(path string) (*output, error) {
	o := &output{path: path}
	return o, o.open()
}

func (o *output) open() error {
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	o.file, o.size = f, info.Size()
	return nil
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return 0, os.ErrClosed
	}
	if o.size > 0 && o.size+int64(len(p)) > maxLog {
		o.file.Close()
		o.file = nil
		if err := os.Rename(o.path, o.path+".1"); err != nil {
			return 0, fmt.Errorf("putting a log aside: %w", err)
		}
		if err := o.open(); err != nil {
			return 0, err
		}
	}
	n, err := o.file.Write(p)
	o.size += int64(n)
	return n, err
}

// Close closes the file.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	o.file = nil
	return err
}

// pipe gives a descriptor for a program's output, which the caller closes. done
// is closed when all writers have closed theirs.
func (o *output) pipe() (w *os.File, done <-chan struct{}, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer r.Close()
		if _, err := io.Copy(o, r); err != nil {
			// The program must not stop because its log cannot be written.
			_, _ = io.Copy(io.Discard, r)
		}
	}()
	return w, ended, nil
}
