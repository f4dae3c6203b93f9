package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Times of the stream of events.
const (
	keepAlive = 15 * time.Second
	// gather lets changes that come together become one event.
	gather = 100 * time.Millisecond
)

// changed is the data of an event.
type changed struct {
	At         float64 `json:"at"`
	Revision   int64   `json:"revision,omitempty"`
	Generation int64   `json:"generation,omitempty"`
}

// events tells a page what to read again. It ends with the client, or with the
// server, whose context the request's derives from.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	s := newEventStream(w)
	was := c.Plane.Describe()
	say := func(kind string, p *PlaneInfo) error {
		return s.send(kind, changed{At: unix(c.Now()), Revision: p.Revision, Generation: p.Generation})
	}
	if say("hello", &was) != nil {
		return
	}
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		moved, counted := c.Plane.Changed(), c.History.Changed()
		now := c.Plane.Describe()
		kind := ""
		if now.Generation != was.Generation || now.Revision != was.Revision {
			kind = "objects"
		}
		was = now
		if kind != "" && say(kind, &now) != nil {
			return
		}
		select {
		case <-moved:
			if say("proxies", &now) != nil || !pause(r, gather) {
				return
			}
		case <-counted:
			if say("graph", &now) != nil {
				return
			}
		case <-alive.C:
			if s.comment() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// pause waits, and reports whether the request still lasts.
func pause(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}

// eventStream writes server-sent events (WHATWG HTML, section 9.2).
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newEventStream(w http.ResponseWriter) *eventStream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &eventStream{w, http.NewResponseController(w)}
}

func (s *eventStream) send(kind string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", kind, text); err != nil {
		return err
	}
	return s.control.Flush()
}

func (s *eventStream) comment() error {
	if _, err := fmt.Fprint(s.w, ":\n\n"); err != nil {
		return err
	}
	return s.control.Flush()
}
