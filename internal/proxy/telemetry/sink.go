package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	flushEvery = 50 * time.Millisecond
	// flushAt is the size of a batch that is written without waiting for more.
	flushAt = 64 << 10
	// maxPending bounds what waits for a slow writer; lines beyond it are dropped
	// and counted.
	maxPending = 1 << 20
)

// newline ends every line.
var newline = []byte{'\n'}

// Sink writes lines to one destination in batches. Append never blocks: a slow or
// stuck writer costs lines, not requests.
type Sink struct {
	// immutable
	w    io.Writer
	file *os.File // nil for a stream of the proxy
	log  *slog.Logger
	wake chan struct{} // one slot: there is a first line
	full chan struct{} // one slot: flushAt is reached
	quit chan struct{}
	done chan struct{}

	dropped atomic.Uint64

	mu  sync.Mutex
	buf []byte // guarded by mu
}

func newSink(w io.Writer, file *os.File, log *slog.Logger) *Sink {
	s := &Sink{w: w, file: file, log: log, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// Append adds a line, with its newline, to the next batch.
func (s *Sink) Append(line []byte) {
	s.mu.Lock()
	if len(s.buf)+len(line) > maxPending {
		s.mu.Unlock()
		s.dropped.Add(1)
		return
	}
	before := len(s.buf)
	s.buf = append(s.buf, line...)
	after := len(s.buf)
	s.mu.Unlock()
	if before == 0 {
		signal(s.wake)
	}
	if before < flushAt && after >= flushAt {
		signal(s.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped is the number of lines that were dropped.
func (s *Sink) Dropped() uint64 { return s.dropped.Load() }

// run writes batches until Close, then what is left.
func (s *Sink) run() {
	defer close(s.done)
	var spare []byte
	for {
		open := true
		select {
		case <-s.wake:
			// Lines that come together are written together.
			select {
			case <-time.After(flushEvery):
			case <-s.full:
			case <-s.quit:
				open = false
			}
		case <-s.quit:
			open = false
		}
		s.mu.Lock()
		batch := s.buf
		s.buf = spare[:0]
		s.mu.Unlock()
		if len(batch) > 0 {
			if n, err := s.w.Write(batch); err != nil {
				s.dropped.Add(uint64(bytes.Count(batch[n:], newline)))
				s.log.Warn("access log not written", "err", err)
			}
		}
		if spare = batch; len(batch) < cap(batch)/8 {
			spare = nil // grown in a burst that is over
		}
		if !open {
			return
		}
	}
}

// close writes what is left and ends the sink.
func (s *Sink) close() {
	close(s.quit)
	<-s.done
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			s.log.Warn("access log not closed", "err", err)
		}
	}
}

// Sinks are the destinations of one proxy's access logs, by path. Safe for
// concurrent use.
type Sinks struct {
	// immutable
	stdout, stderr io.Writer
	log            *slog.Logger

	mu    sync.Mutex
	paths map[string]*Sink // guarded by mu
}

// NewSinks makes the destinations of a proxy. stdout and stderr are what the paths
// /dev/stdout and /dev/stderr mean; nil discards.
func NewSinks(stdout, stderr io.Writer, log *slog.Logger) *Sinks {
	return &Sinks{stdout: stdout, stderr: stderr, log: log, paths: map[string]*Sink{}}
}

// Open gives the sink for a path. It is kept until Close.
func (s *Sinks) Open(path string) (*Sink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.paths[path]; k != nil {
		return k, nil
	}
	var k *Sink
	switch path {
	case "/dev/stdout":
		k = newSink(orDiscard(s.stdout), nil, s.log)
	case "/dev/stderr":
		k = newSink(orDiscard(s.stderr), nil, s.log)
	default:
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
		k = newSink(f, f, s.log)
	}
	s.paths[path] = k
	return k, nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Dropped is the number of lines that were dropped, over all sinks.
func (s *Sinks) Dropped() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.paths {
		n += k.Dropped()
	}
	return n
}

// Close writes what is left and ends all sinks.
func (s *Sinks) Close() {
	s.mu.Lock()
	paths := s.paths
	s.paths = map[string]*Sink{}
	s.mu.Unlock()
	for _, k := range paths {
		k.close()
	}
}
