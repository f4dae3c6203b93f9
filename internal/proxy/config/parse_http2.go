package config

import (
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// HTTP2 is envoy.config.core.v3.Http2ProtocolOptions, of either side. Zero values
// leave the codec's defaults, which are smaller than Envoy's: they bound memory.
type HTTP2 struct {
	MaxStreams   int           // exchanges at once on a connection
	StreamWindow int           // bytes that the peer may send ahead on a stream
	ConnWindow   int           // and in all
	PingAfter    time.Duration // silence of the peer after which it is asked whether it is there; 0: never
	PingTimeout  time.Duration // for its answer
}

// http2Fields: what is ignored tunes Envoy's codec (its frame counters, tables and
// choice of implementation), where ours has bounds of its own that hold always:
// bytes queued, frames without use, resets. Errors of a stream never close the
// connection here. allow_connect needs no reading: extended CONNECT is offered for
// what upgrade_configs names. A PING before a connection is used again
// (connection_idle_interval) is what the watch for hang-ups makes needless.
var http2Fields = table{
	"envoy.config.core.v3.Http2ProtocolOptions": has(
		`max_concurrent_streams initial_stream_window_size initial_connection_window_size connection_keepalive`,
		``,
		`hpack_table_size allow_connect max_outbound_frames max_outbound_control_frames
		max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
		max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
		override_stream_error_on_invalid_http_message use_oghttp2_codec max_metadata_size enable_huffman_encoding`),
	"envoy.config.core.v3.KeepaliveSettings": has(`interval timeout`, ``, `interval_jitter connection_idle_interval`),
}

// parseHTTP2 reads the options of the HTTP/2 codec; m may be nil.
func parseHTTP2(s *scope, m *corev3.Http2ProtocolOptions) (HTTP2, error) {
	var out HTTP2
	if m == nil {
		return out, nil
	}
	const minWindow = 65535 // RFC 9113 §6.9.2, and Envoy's bound
	for _, f := range []struct {
		name string
		v    *wrapperspb.UInt32Value
		min  uint32
		to   *int
	}{
		{"max_concurrent_streams", m.GetMaxConcurrentStreams(), 1, &out.MaxStreams},
		{"initial_stream_window_size", m.GetInitialStreamWindowSize(), minWindow, &out.StreamWindow},
		{"initial_connection_window_size", m.GetInitialConnectionWindowSize(), minWindow, &out.ConnWindow},
	} {
		if f.v == nil {
			continue
		}
		if v := f.v.GetValue(); v < f.min || v > math.MaxInt32 {
			return out, s.at(f.name).errorf("%d is not in %d..%d", v, f.min, math.MaxInt32)
		}
		*f.to = int(f.v.GetValue())
	}
	k := m.GetConnectionKeepalive()
	if k == nil {
		return out, nil
	}
	s = s.at("connection_keepalive")
	var err error
	if out.PingAfter, err = duration(s.at("interval"), k.GetInterval(), 0); err != nil {
		return out, err
	}
	if out.PingTimeout, err = duration(s.at("timeout"), k.GetTimeout(), 0); err != nil {
		return out, err
	}
	if out.PingTimeout < time.Millisecond {
		return out, s.at("timeout").errorf("is not at least 1ms")
	}
	return out, nil
}
