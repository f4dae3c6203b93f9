//go:build !race

package telemetry

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// The race detector makes pools forget, so that this counts without it.
func TestDoneWithoutGarbage(t *testing.T) {
	m, _ := newMetrics(t)
	s, o := busy()
	all := map[string]stream.Observer{"metrics": m}
	for name, l := range logs(t) {
		all[name] = l
	}
	for name, x := range all {
		x.Done(s, o)
		// The sink's buffer grows until its first flush: that is not counted per line.
		if n := testing.AllocsPerRun(2000, func() { x.Done(s, o) }); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
