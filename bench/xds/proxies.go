package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// serveAsProxies holds a stream for each proxy until ctx ends.
func serveAsProxies(ctx context.Context, s *settings) error {
	var all sync.WaitGroup
	failed := make(chan error, s.proxies)
	for i := range s.proxies {
		all.Go(func() {
			if err := beProxy(ctx, s, i); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("proxy %d: %w", i, err)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case err := <-failed:
		return err
	case <-done:
		return nil
	}
}

func node(s *settings, i int) (*corev3.Node, error) {
	ns, ip := namespaceOf(i), proxyAddr(i).String()
	md, err := structpb.NewStruct(map[string]any{
		"NAME": fmt.Sprintf("proxy-%d", i), "NAMESPACE": ns, "SERVICE_ACCOUNT": "default", "INSTANCE_IPS": ip,
		"LABELS": map[string]any{"app": "proxy"}, "WORKLOAD_NAME": "proxy", "INTERCEPTION_MODE": "REDIRECT", "LATEEN_DATA_PLANE": s.plane,
	})
	if err != nil {
		return nil, err
	}
	return &corev3.Node{Id: fmt.Sprintf("sidecar~%s~proxy-%d.%s~%s.svc.cluster.local", ip, i, ns, ns), Metadata: md}, nil
}

// beProxy subscribes as Envoy does: to all clusters, to the endpoints of each, to all
// listeners, and to the route tables that these name.
func beProxy(ctx context.Context, s *settings, i int) error {
	conn, err := grpc.NewClient(s.clients, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)), grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10), grpc.WithSharedWriteBuffer(true))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is lost with it
	n, err := node(s, i)
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, namespaceHeader, namespaceOf(i))
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	if s.form == "sotw" {
		return stateOfTheWorld(ctx, ads, n)
	}
	return incremental(ctx, ads, n)
}

func incremental(ctx context.Context, ads discoveryv3.AggregatedDiscoveryServiceClient, n *corev3.Node) error {
	stream, err := ads.DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: n, TypeUrl: build.ClusterType}); err != nil {
		return err
	}
	opened := false
	known := map[string]bool{}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		requests := []*discoveryv3.DeltaDiscoveryRequest{{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}}
		var names []string
		to := ""
		for _, x := range r.GetResources() {
			switch r.GetTypeUrl() {
			case build.ClusterType:
				to = build.EndpointType
				if strings.HasPrefix(x.GetName(), "outbound|") { // again where it changes: it is warmed
					names = append(names, x.GetName())
				}
			case build.ListenerType:
				to = build.RouteType
				if t, ok := strings.CutPrefix(x.GetName(), "0.0.0.0_"); ok && !known[t] {
					known[t] = true
					names = append(names, t)
				}
			}
		}
		if len(names) > 0 {
			requests = append(requests, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: to, ResourceNamesSubscribe: names})
		}
		if !opened && r.GetTypeUrl() == build.EndpointType {
			opened = true
			requests = append(requests, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: build.ListenerType})
		}
		for _, q := range requests {
			if err := stream.Send(q); err != nil {
				return err
			}
		}
	}
}

func stateOfTheWorld(ctx context.Context, ads discoveryv3.AggregatedDiscoveryServiceClient, n *corev3.Node) error {
	stream, err := ads.StreamAggregatedResources(ctx)
	if err != nil {
		return err
	}
	last := map[string]*discoveryv3.DiscoveryRequest{build.ClusterType: {Node: n, TypeUrl: build.ClusterType}}
	if err := stream.Send(last[build.ClusterType]); err != nil {
		return err
	}
	send := func(typeURL string, change func(q *discoveryv3.DiscoveryRequest)) error {
		q := &discoveryv3.DiscoveryRequest{TypeUrl: typeURL}
		if old := last[typeURL]; old != nil {
			q.VersionInfo, q.ResponseNonce, q.ResourceNames = old.VersionInfo, old.ResponseNonce, old.ResourceNames
		}
		change(q)
		last[typeURL] = q
		return stream.Send(q)
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		names, err := namesIn(r)
		if err != nil {
			return err
		}
		err = send(r.GetTypeUrl(), func(q *discoveryv3.DiscoveryRequest) {
			q.VersionInfo, q.ResponseNonce = r.GetVersionInfo(), r.GetNonce()
		})
		switch r.GetTypeUrl() {
		case build.ClusterType:
			err = errors.Join(err, send(build.EndpointType, func(q *discoveryv3.DiscoveryRequest) { q.ResourceNames = names }))
		case build.EndpointType:
			if last[build.ListenerType] == nil {
				err = errors.Join(err, send(build.ListenerType, func(*discoveryv3.DiscoveryRequest) {}))
			}
		case build.ListenerType:
			err = errors.Join(err, send(build.RouteType, func(q *discoveryv3.DiscoveryRequest) { q.ResourceNames = names }))
		}
		if err != nil {
			return err
		}
	}
}
