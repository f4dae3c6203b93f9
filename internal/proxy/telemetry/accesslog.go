package telemetry

import (
	"fmt"
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// AccessLog writes one line for every exchange.
type AccessLog struct {
	sink  *Sink
	line  func(dst []byte, src *format.Source) []byte
	lines sync.Pool // *scratch
}

// scratch is what making one line needs.
type scratch struct {
	line []byte
	src  format.Source
}

// NewAccessLog makes the log that the configuration describes.
func NewAccessLog(cfg *config.AccessLog, sinks *Sinks) (*AccessLog, error) {
	l := &AccessLog{}
	switch {
	case cfg.JSON != nil:
		n, err := compileJSON(cfg.JSON)
		if err != nil {
			return nil, err
		}
		l.line = func(dst []byte, src *format.Source) []byte { return append(n.append(dst, src), '\n') }
	case cfg.Text != nil:
		l.line = cfg.Text.Append
	default:
		return nil, fmt.Errorf("access log %s has no format", cfg.Path)
	}
	var err error
	l.sink, err = sinks.Open(cfg.Path)
	return l, err
}

// NewAccessLogs makes several.
func NewAccessLogs(cfgs []config.AccessLog, sinks *Sinks) ([]*AccessLog, error) {
	var out []*AccessLog
	for i := range cfgs {
		l, err := NewAccessLog(&cfgs[i], sinks)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// Done implements stream.Observer.
func (l *AccessLog) Done(s *stream.Stream, o *stream.Outcome) {
	x, _ := l.lines.Get().(*scratch)
	if x == nil {
		x = new(scratch)
	}
	x.src = format.Source{Stream: s, Response: o.Response, Outcome: o}
	x.line = l.line(x.line[:0], &x.src)
	var conn uint64
	if s.Conn != nil {
		conn = s.Conn.ID
	}
	l.sink.Append(conn, x.line)
	x.src = format.Source{} // the pool must not hold on to the exchange
	l.lines.Put(x)
}
