package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	flushEvery = 50 * time.Millisecond
	// flushAt is the size of a batch that is written without waiting for more.
	flushAt = 64 << 10
	// maxPending bounds what waits, or is being written; lines beyond it are dropped
	// and counted.
	maxPending = 1 << 20
	// keepFor is how long buffers stay as large as a burst made them.
	keepFor = time.Second
)

// newline ends every line.
var newline = []byte{'\n'}

// Sink writes lines to one destination in batches. Append never blocks: a slow or
// stuck writer costs lines, not requests.
type Sink struct {
	// immutable
	w      io.Writer
	file   *os.File // nil for a stream of the proxy
	log    *slog.Logger
	wake   chan struct{} // one slot: there is a first line
	full   chan struct{} // one slot: flushAt is reached
	quit   chan struct{}
	done   chan struct{}
	shards []shard // a power of two of them

	dropped atomic.Uint64

	_       [64]byte     // what every line changes shares no cache line with what it reads
	pending atomic.Int64 // bytes that wait, or are about to, in all shards
}

// shard holds the lines of the connections whose ids lead to it, so that those of
// one connection stay in their order.
type shard struct {
	mu    sync.Mutex
	buf   []byte // guarded by mu
	spare []byte // of the writer, for when it takes buf
	_     [64]byte
}

// maxShards bounds how many there are.
const maxShards = 64

func newSink(w io.Writer, file *os.File, log *slog.Logger) *Sink {
	s := &Sink{w: w, file: file, log: log, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	// More than processors: where the system takes one away from a goroutine that holds
	// a lock, few connections wait for it.
	s.shards = make([]shard, min(1<<bits.Len(uint(8*runtime.GOMAXPROCS(0)-1)), maxShards))
	go s.run()
	return s
}

// Append adds a line, with its newline, to the next batch. Lines with one key, that
// of a connection, are written in the order of the calls.
func (s *Sink) Append(key uint64, line []byte) {
	n := int64(len(line))
	after := s.pending.Add(n)
	if after > maxPending {
		s.pending.Add(-n)
		s.dropped.Add(1)
		return
	}
	x := &s.shards[key&uint64(len(s.shards)-1)]
	x.mu.Lock()
	x.buf = append(x.buf, line...)
	x.mu.Unlock()
	if after == n {
		signal(s.wake)
	}
	if after >= flushAt && after-n < flushAt {
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

// run writes batches until close, then what is left.
func (s *Sink) run() {
	defer close(s.done)
	var batch []byte
	var burst time.Time // when there was much to write last; zero: the buffers are small
	for open := true; open; {
		var over <-chan time.Time
		if !burst.IsZero() {
			over = time.After(keepFor)
		}
		select {
		case <-s.wake:
			// Lines that come together are written together.
			select {
			case <-time.After(flushEvery):
			case <-s.full:
			case <-s.quit:
				open = false
			}
		case <-over:
		case <-s.quit:
			open = false
		}
		batch = s.take(batch[:0])
		s.write(batch)
		// Only now has room come free: a batch that is being written waits as well.
		s.written(int64(len(batch)))
		if len(batch) > 2*flushAt {
			burst = time.Now()
		} else if !burst.IsZero() && time.Since(burst) >= keepFor {
			s.shrink()
			batch, burst = nil, time.Time{}
		}
	}
}

// written takes bytes off what waits. Of lines that came meanwhile nobody told: they
// were not the first, and may be enough for a batch already.
func (s *Sink) written(n int64) {
	left := s.pending.Add(-n)
	if left > 0 {
		signal(s.wake)
	}
	if left >= flushAt {
		signal(s.full)
	}
}

// take moves what waits in the shards to the end of batch. A shard is locked only
// to exchange its buffers.
func (s *Sink) take(batch []byte) []byte {
	for i := range s.shards {
		x := &s.shards[i]
		x.mu.Lock()
		lines := x.buf
		x.buf = x.spare[:0]
		x.mu.Unlock()
		batch = append(batch, lines...)
		x.spare = lines
	}
	return batch
}

// shrink gives back buffers that grew in a burst.
func (s *Sink) shrink() {
	for i := range s.shards {
		x := &s.shards[i]
		x.spare = nil
		x.mu.Lock()
		if len(x.buf) == 0 {
			x.buf = nil
		}
		x.mu.Unlock()
	}
}

func (s *Sink) write(batch []byte) {
	if len(batch) == 0 {
		return
	}
	if n, err := s.w.Write(batch); err != nil {
		s.dropped.Add(uint64(bytes.Count(batch[n:], newline)))
		s.log.Warn("access log not written", "err", err)
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
