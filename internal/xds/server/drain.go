package server

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errLeaving ends streams of a server that goes away: the client may connect again
// at once, to another replica.
var errLeaving = status.Error(codes.Unavailable, "this replica of the control plane ends: connect to another one")

// Drain refuses new streams from now on and ends those that there are, one after
// the other within spread, so that not all clients come to the other replicas at
// once. It returns when none is left, or when ctx ends.
func (s *Server) Drain(ctx context.Context, spread time.Duration) {
	s.mu.Lock()
	s.leaving = true
	left := len(s.streams)
	s.mu.Unlock()
	if left == 0 {
		return
	}
	t := time.NewTicker(max(spread/time.Duration(left), time.Microsecond))
	defer t.Stop()
	for s.endOne() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// endOne ends any one stream; false when there is none.
func (s *Server) endOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, end := range s.streams {
		end(errLeaving)
		delete(s.streams, c)
		return true
	}
	return false
}

// begin notes a stream and how it is ended, unless the server goes away.
func (s *Server) begin(c *Conn, end context.CancelCauseFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		return errLeaving
	}
	s.streams[c] = end
	return nil
}

func (s *Server) end(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, c)
}
