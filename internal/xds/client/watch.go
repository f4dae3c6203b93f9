package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// watch is the subscription to one type. All of it is guarded by Client.mu.
type watch struct {
	names    map[string]bool   // what is wanted; Wildcard among them
	versions map[string]string // accepted resources
	opened   bool              // the first request of this stream was sent
	add, del map[string]bool   // changes that the server does not know yet
	status   TypeStatus
}

// Subscribe asks for resources by name, or for all with Wildcard. It may be
// called at any time; names that are subscribed already are not sent again.
func (c *Client) Subscribe(typeURL string, names ...string) {
	c.mu.Lock()
	w := c.watch(typeURL)
	for _, n := range names {
		if w.names[n] {
			continue
		}
		w.names[n] = true
		if w.del[n] {
			// The server may have dropped it already: ask anew.
			delete(w.del, n)
		}
		w.add[n] = true
	}
	c.mu.Unlock()
	c.poke()
}

// watch gives the subscription to a type, which may be new. Called with mu held.
func (c *Client) watch(typeURL string) *watch {
	w := c.types[typeURL]
	if w == nil {
		w = &watch{names: map[string]bool{}, versions: map[string]string{}, add: map[string]bool{}, del: map[string]bool{}}
		c.types[typeURL] = w
		c.order = append(c.order, typeURL)
	}
	return w
}

// Unsubscribe ends the interest in resources; the Handler hears no more of them
// and must drop them itself.
func (c *Client) Unsubscribe(typeURL string, names ...string) {
	c.mu.Lock()
	if w := c.types[typeURL]; w != nil {
		for _, n := range names {
			if !w.names[n] {
				continue
			}
			delete(w.names, n)
			delete(w.versions, n)
			delete(w.add, n)
			w.del[n] = true
		}
	}
	c.mu.Unlock()
	c.poke()
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// restart forgets what the last stream's server knew.
func (c *Client) restart() {
	c.mu.Lock()
	c.acks = nil
	for _, w := range c.types {
		w.opened = false
		clear(w.add)
		clear(w.del)
	}
	c.mu.Unlock()
	c.poke()
}

// sender is the sending half of a stream.
type sender interface {
	Send(*discoveryv3.DeltaDiscoveryRequest) error
}

// sendAll sends what is pending until ctx ends or a send fails.
func (c *Client) sendAll(ctx context.Context, s sender) error {
	first := true
	for {
		for _, r := range c.pending() {
			if first {
				r.Node = c.currentNode()
				first = false
			}
			if err := s.Send(r); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) currentNode() *corev3.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// pending takes the requests that are to be sent now: acknowledgements first,
// then subscriptions.
func (c *Client) pending() []*discoveryv3.DeltaDiscoveryRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.acks
	c.acks = nil
	for _, url := range c.order {
		if r := c.types[url].request(url); r != nil {
			out = append(out, r)
		}
	}
	return out
}

// request makes the next subscription request of a type, nil for none.
func (w *watch) request(url string) *discoveryv3.DeltaDiscoveryRequest {
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url}
	if !w.opened {
		if len(w.names) == 0 {
			return nil
		}
		w.opened = true
		r.InitialResourceVersions = maps.Clone(w.versions)
		// A first request without names is the wildcard in the form that every
		// server knows.
		if !(len(w.names) == 1 && w.names[Wildcard]) {
			r.ResourceNamesSubscribe = slices.Sorted(maps.Keys(w.names))
		}
		clear(w.add)
		clear(w.del)
		return r
	}
	if len(w.add) == 0 && len(w.del) == 0 {
		return nil
	}
	r.ResourceNamesSubscribe = slices.Sorted(maps.Keys(w.add))
	r.ResourceNamesUnsubscribe = slices.Sorted(maps.Keys(w.del))
	clear(w.add)
	clear(w.del)
	return r
}

// receive hands a response to the handler and queues the ACK or NACK.
func (c *Client) receive(ctx context.Context, h Handler, resp *discoveryv3.DeltaDiscoveryResponse) {
	url := resp.GetTypeUrl()
	added := make([]Resource, 0, len(resp.GetResources()))
	rejected := map[string]error{}
	for _, r := range resp.GetResources() {
		if got := r.GetResource().GetTypeUrl(); got != url {
			rejected[r.GetName()] = fmt.Errorf("type %q in a response of type %q", got, url)
			continue
		}
		added = append(added, Resource{Name: r.GetName(), Version: r.GetVersion(), Body: r.GetResource().GetValue()})
	}
	maps.Copy(rejected, h.Update(ctx, url, added, resp.GetRemovedResources()))

	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResponseNonce: resp.GetNonce()}
	if len(rejected) > 0 {
		ack.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: rejectionText(rejected)}
		c.log.Warn("configuration rejected", "type", url, "err", ack.ErrorDetail.Message)
	}
	c.mu.Lock()
	if w := c.types[url]; w != nil {
		for _, r := range added {
			// What was unsubscribed meanwhile is not remembered.
			if rejected[r.Name] == nil && (w.names[Wildcard] || w.names[r.Name]) {
				w.versions[r.Name] = r.Version
			}
		}
		for _, n := range resp.GetRemovedResources() {
			delete(w.versions, n)
		}
		w.status.Version, w.status.Updated, w.status.Rejected = resp.GetSystemVersionInfo(), time.Now(), ack.GetErrorDetail().GetMessage()
	}
	c.acks = append(c.acks, ack)
	c.mu.Unlock()
	c.poke()
}

// rejectionText is the text of a NACK: "NAME: why" for each, in order.
func rejectionText(rejected map[string]error) string {
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(rejected)) {
		parts = append(parts, n+": "+rejected[n].Error())
	}
	return strings.Join(parts, "; ")
}
