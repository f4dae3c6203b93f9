package router

import (
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// fieldGRPCTimeout is how long a gRPC client waits.
var fieldGRPCTimeout = stream.N("grpc-timeout")

func isGRPC(r *stream.Request) bool { return stream.IsGRPC(r.Get(stream.ContentType)) }

// readDeadline honours grpc-timeout where the route says so, as Envoy does: in place
// of the route's time-out (and without the field there is none but the maximum), or
// of the stream's maximum duration, where the field is there.
func (c *call) readDeadline() {
	req, fwd := &c.s.Request, c.route.Forward
	if !isGRPC(req) {
		return
	}
	d, told := parseGRPCTimeout(req.Get(fieldGRPCTimeout))
	if g := &fwd.GRPCTimeout; g.On {
		c.limits.route = deadline(g, d)
	}
	if g := &fwd.GRPCDuration; g.On && told {
		c.limits.max = deadline(g, d)
	}
}

// deadline applies offset and maximum; 0 is no limit.
func deadline(g *config.GRPCDeadline, d time.Duration) time.Duration {
	if g.Offset < d {
		d -= g.Offset
	}
	if g.Max > 0 && (d == 0 || g.Max < d) {
		d = g.Max
	}
	return d
}

// grpcUnits are the units of grpc-timeout.
var grpcUnits = [256]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}

// parseGRPCTimeout reads a value of grpc-timeout: up to eight digits and a unit.
func parseGRPCTimeout(v []byte) (time.Duration, bool) {
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	unit := grpcUnits[v[len(v)-1]]
	n, err := strconv.ParseUint(string(v[:len(v)-1]), 10, 32)
	if unit == 0 || err != nil {
		return 0, false
	}
	// Eight digits of hours are more than a Duration holds.
	const most = time.Duration(1<<63 - 1)
	if time.Duration(n) > most/unit {
		return most, true
	}
	return time.Duration(n) * unit, true
}

// appendGRPCTimeout writes a time-out in the finest unit that eight digits hold.
func appendGRPCTimeout(b []byte, d time.Duration) []byte {
	for _, unit := range []byte("muSMH") {
		if n := int64(d / grpcUnits[unit]); unit != 'u' && n < 100_000_000 {
			return append(strconv.AppendInt(b, n, 10), unit)
		}
	}
	return append(b, "99999999H"...)
}

// namesStatus reports whether an answer is a head alone that tells a gRPC status
// which the policy names. Such a call was not begun to be answered, and the policy
// asks for it to be made again, although all calls of gRPC are POSTs.
func (c *call) namesStatus(resp *stream.Response) bool {
	return c.policy.on&onGRPC != 0 && resp.Body == nil && isGRPC(&c.s.Request) && c.policy.wantsGRPC(resp)
}
