package stream

import "testing"

func TestReasonAfterResponse(t *testing.T) {
	for _, tc := range []struct {
		r    Reason
		want string
	}{
		{Reason{Code: UpstreamReset}, "upstream_reset_after_response_started{connection_termination}"},
		{Reason{Code: UpstreamRemoteReset}, "upstream_reset_after_response_started{remote_reset}"},
		{Reason{Code: UpstreamRemoteReset, Envoy: "upstream_reset_before_response_started{remote_refused_stream_reset}"}, "upstream_reset_after_response_started{remote_refused_stream_reset}"},
		{Reason{Code: RouteTimeout}, "response_timeout"},
	} {
		if got := tc.r.AfterResponse().Details(); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.r, got, tc.want)
		}
	}
}
