package observe

import (
	"context"
	"encoding/json"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// tap is a question for live requests that somebody waits on.
type tap struct {
	request *anypb.Any
	wants   func(proxy string) bool
	events  chan *wire.TapEvent
}

// waiting is how many events wait for a slow reader; more are lost.
const waiting = 1024

// Tap asks the proxies that wants names for live requests, those that connect later
// too, and calls f with each until ctx ends or f returns false.
func (h *Hub) Tap(ctx context.Context, r wire.TapRequest, wants func(proxy string) bool, f func(*wire.TapEvent) bool) error {
	r.ID = h.lastTap.Add(1)
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	t := &tap{request: &anypb.Any{TypeUrl: wire.TapType, Value: text}, wants: wants, events: make(chan *wire.TapEvent, waiting)}
	h.begin(r.ID, t)
	defer h.end(r.ID, t)
	for {
		select {
		case e := <-t.events:
			if !f(e) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *Hub) begin(id uint64, t *tap) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taps[id] = t
	for p := range h.proxies {
		if t.wants(p.hello.Proxy) {
			p.tell(t.request)
		}
	}
}

func (h *Hub) end(id uint64, t *tap) {
	text, err := json.Marshal(wire.Untap{ID: id})
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.taps, id)
	if err != nil {
		return // a number has a JSON form
	}
	for p := range h.proxies {
		if t.wants(p.hello.Proxy) {
			p.tell(&anypb.Any{TypeUrl: wire.UntapType, Value: text})
		}
	}
}

// tell leaves a message for the proxy. One that does not read is left out; its stream
// will end.
func (p *proxy) tell(m *anypb.Any) {
	select {
	case p.send <- m:
	default:
	}
}

func (h *Hub) add(p *proxy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proxies[p] = struct{}{}
	for _, t := range h.taps {
		if t.wants(p.hello.Proxy) {
			p.tell(t.request)
		}
	}
}

func (h *Hub) remove(p *proxy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.proxies, p)
}

// tapped hands an event to who waits for it. Whatever the proxy calls itself, it is
// shown under the name that it has proved.
func (h *Hub) tapped(p *proxy, body []byte) error {
	var e wire.TapEvent
	if err := wire.UnmarshalTap(body, &e); err != nil {
		return err
	}
	h.mu.Lock()
	t := h.taps[e.Tap]
	h.mu.Unlock()
	if t == nil || !t.wants(p.hello.Proxy) {
		return nil // it has ended
	}
	e.Tap, e.Proxy = 0, p.hello.Proxy
	select {
	case t.events <- &e:
	default:
	}
	return nil
}
