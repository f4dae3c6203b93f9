package build

import (
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

const faultName = "envoy.filters.http.fault"

// fault is a route's override of the fault filter.
func fault(f *ir.Fault) *anypb.Any {
	out := &faultv3.HTTPFault{}
	if f.Delay > 0 {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(f.Delay)},
			Percentage:         perMillion(f.DelayPercent),
		}
	}
	switch {
	case f.AbortGRPC != nil:
		out.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_GrpcStatus{GrpcStatus: *f.AbortGRPC},
			Percentage: perMillion(f.AbortPercent),
		}
	case f.AbortStatus > 0:
		out.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: f.AbortStatus},
			Percentage: perMillion(f.AbortPercent),
		}
	}
	return typed(out)
}
