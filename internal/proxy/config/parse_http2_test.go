package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestHTTP2Options(t *testing.T) {
	full := &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams: wrapperspb.UInt32(7), InitialStreamWindowSize: wrapperspb.UInt32(65535), InitialConnectionWindowSize: wrapperspb.UInt32(1 << 20),
		ConnectionKeepalive: &corev3.KeepaliveSettings{Interval: durationpb.New(time.Minute), Timeout: durationpb.New(time.Second)},
		AllowConnect:        true, MaxOutboundFrames: wrapperspb.UInt32(9),
	}
	for name, c := range map[string]struct {
		in   *corev3.Http2ProtocolOptions
		want HTTP2
	}{
		"none": {nil, HTTP2{}}, "empty": {&corev3.Http2ProtocolOptions{}, HTTP2{}},
		"full": {full, HTTP2{MaxStreams: 7, StreamWindow: 65535, ConnWindow: 1 << 20, PingAfter: time.Minute, PingTimeout: time.Second}},
	} {
		got, err := parseHTTP2(root("listener", "l"), c.in)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	if err := strict(root("listener", "l"), full); err != nil {
		t.Error(err)
	}
}

// TestGRPCDeadlines: a maximum that is not there leaves the field without effect; one
// of 0 is no maximum.
func TestGRPCDeadlines(t *testing.T) {
	second := durationpb.New(time.Second)
	for name, c := range map[string]struct {
		in           *routev3.RouteAction
		route, whole GRPCDeadline
	}{
		"none": {in: &routev3.RouteAction{}},
		"as Istio": {&routev3.RouteAction{MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(0), GrpcTimeoutHeaderMax: durationpb.New(0)}},
			GRPCDeadline{}, GRPCDeadline{On: true}},
		"of the route": {&routev3.RouteAction{MaxGrpcTimeout: second, GrpcTimeoutOffset: second}, //nolint:staticcheck // Istio sets the old fields
			GRPCDeadline{On: true, Max: time.Second, Offset: time.Second}, GRPCDeadline{}},
		"capped": {&routev3.RouteAction{MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{GrpcTimeoutHeaderMax: second, GrpcTimeoutHeaderOffset: second}},
			GRPCDeadline{}, GRPCDeadline{On: true, Max: time.Second, Offset: time.Second}},
	} {
		var f Forward
		if err := parseRouteTimeouts(root("route", "r"), &f, c.in); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.GRPCTimeout != c.route || f.GRPCDuration != c.whole {
			t.Errorf("%s: %+v, %+v", name, f.GRPCTimeout, f.GRPCDuration)
		}
	}
}
