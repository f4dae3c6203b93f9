package build

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// hostAttempts is how often another endpoint is picked when the one picked was
// tried before, as Istio sets it.
const hostAttempts = 5

// priorityUpdates is after how many tries the next priority is taken, as Istio sets
// it.
const priorityUpdates = 2

func retryPolicy(r *ir.Retry) *routev3.RetryPolicy {
	if r == nil {
		return nil
	}
	out := &routev3.RetryPolicy{
		RetryOn:              r.On,
		NumRetries:           wrapperspb.UInt32(r.Attempts),
		RetriableStatusCodes: r.Statuses,
		PerTryTimeout:        optional(r.PerTryTimeout),
	}
	if r.AvoidPrevious {
		out.HostSelectionRetryMaxAttempts = hostAttempts
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: typed(&previoushostsv3.PreviousHostsPredicate{})},
		}}
	}
	if r.RemoteLocalities {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: typed(&previousprioritiesv3.PreviousPrioritiesConfig{
				UpdateFrequency: priorityUpdates,
			})},
		}
	}
	if r.Backoff > 0 {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(r.Backoff)}
	}
	return out
}
