package server

import (
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

type deltaProtocol struct {
	stream grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
}

func (deltaProtocol) incremental() bool { return true }

func (d deltaProtocol) receive() (request, error) {
	m, err := d.stream.Recv()
	if err != nil {
		return request{}, err
	}
	return request{
		node: m.GetNode(), typeURL: m.GetTypeUrl(), nonce: m.GetResponseNonce(), refused: errorText(m),
		subscribe: m.GetResourceNamesSubscribe(), unsubscribe: m.GetResourceNamesUnsubscribe(), known: m.GetInitialResourceVersions(),
	}, nil
}

func (d deltaProtocol) send(r response) error {
	m := &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: r.typeURL, Nonce: r.nonce, SystemVersionInfo: r.version, RemovedResources: r.removed,
		Resources: make([]*discoveryv3.Resource, 0, len(r.resources)),
	}
	for _, x := range r.resources {
		m.Resources = append(m.Resources, &discoveryv3.Resource{
			Name: x.Name, Version: x.Version, Resource: &anypb.Any{TypeUrl: r.typeURL, Value: x.Body},
		})
	}
	return d.stream.Send(m)
}

type sotwProtocol struct {
	stream grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
}

func (sotwProtocol) incremental() bool { return false }

func (p sotwProtocol) receive() (request, error) {
	m, err := p.stream.Recv()
	if err != nil {
		return request{}, err
	}
	return request{
		node: m.GetNode(), typeURL: m.GetTypeUrl(), nonce: m.GetResponseNonce(), refused: errorText(m),
		subscribe: m.GetResourceNames(), replace: true,
	}, nil
}

func (p sotwProtocol) send(r response) error {
	m := &discoveryv3.DiscoveryResponse{TypeUrl: r.typeURL, Nonce: r.nonce, VersionInfo: r.version, Resources: make([]*anypb.Any, 0, len(r.resources))}
	for _, x := range r.resources {
		m.Resources = append(m.Resources, &anypb.Any{TypeUrl: r.typeURL, Value: x.Body})
	}
	return p.stream.Send(m)
}

// errorText gives the message of a NACK; a NACK without one still is one.
func errorText(m interface {
	GetErrorDetail() *statusProto
}) string {
	e := m.GetErrorDetail()
	if e == nil {
		return ""
	}
	if e.GetMessage() == "" {
		return "refused without a reason"
	}
	return e.GetMessage()
}
