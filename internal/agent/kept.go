package agent

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/cache"
)

// serveKept serves a stream of the Envoy from what an earlier run has kept, until the
// control plane can be reached. Then the stream ends, and the Envoy comes again, telling
// the versions that it has: so it gets what differs, and hears of what is gone.
func (p *podRelay) serveKept(down deltaDown) error {
	set, err := p.store.Load()
	if err != nil {
		p.log.Warn("kept configuration is not used", "err", err)
	}
	if len(set) == 0 {
		return status.Error(codes.Unavailable, "the control plane does not answer, and there is no kept configuration")
	}
	for typeURL, m := range set {
		// What comes later are differences from this.
		p.store.Record(typeURL, slices.Collect(maps.Values(m)), nil)
	}
	p.log.Warn("the control plane does not answer: the Envoy gets the kept configuration", "after", p.side.Settings.FromCache)
	if p.side.CapturesNames() {
		if err := p.side.UpdateNames(slices.Collect(maps.Values(set[wire.NameTableType])), nil); err != nil {
			p.log.Warn("kept names refused", "err", err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- answerKept(down, set) }() // ends with down, which ends with this function
	back := make(chan struct{})
	go func() { // ends with down's context
		defer close(back)
		for s := p.conn.GetState(); s != connectivity.Ready; s = p.conn.GetState() {
			p.conn.Connect()
			if !p.conn.WaitForStateChange(down.Context(), s) {
				return
			}
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-back:
		return status.Error(codes.Unavailable, "the control plane is back")
	}
}

// answerKept answers subscriptions.
func answerKept(down deltaDown, set cache.Set) error {
	known := map[string]bool{} // types that were asked for
	for nonce := 1; ; nonce++ {
		m, err := down.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp := keptAnswer(m, set, !known[m.GetTypeUrl()])
		known[m.GetTypeUrl()] = true
		if resp == nil {
			continue
		}
		resp.Nonce = "kept-" + strconv.Itoa(nonce)
		if err := down.Send(resp); err != nil {
			return err
		}
	}
}

// keptAnswer answers one request; nil: it asks for nothing. Names that are not kept are
// said not to exist, so that nothing waits for them.
func keptAnswer(m *discoveryv3.DeltaDiscoveryRequest, set cache.Set, first bool) *discoveryv3.DeltaDiscoveryResponse {
	names := m.GetResourceNamesSubscribe()
	all := slices.Contains(names, client.Wildcard) || first && len(names) == 0
	if !all && len(names) == 0 {
		return nil // an acknowledgement
	}
	kept := set[m.GetTypeUrl()]
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: m.GetTypeUrl(), SystemVersionInfo: "kept"}
	if all {
		names = slices.Sorted(maps.Keys(kept))
		for name := range m.GetInitialResourceVersions() {
			if _, ok := kept[name]; !ok {
				resp.RemovedResources = append(resp.RemovedResources, name)
			}
		}
		slices.Sort(resp.RemovedResources)
	}
	for _, name := range names {
		r, ok := kept[name]
		switch {
		case !ok:
			resp.RemovedResources = append(resp.RemovedResources, name)
		case m.GetInitialResourceVersions()[name] != r.Version || r.Version == "":
			resp.Resources = append(resp.Resources, &discoveryv3.Resource{
				Name: name, Version: r.Version, Resource: &anypb.Any{TypeUrl: m.GetTypeUrl(), Value: r.Body},
			})
		}
	}
	return resp
}
