//go:build !race

package router

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// TestForwardAllocs: the plain path allocates nothing, with time-outs and a retry
// policy too. (Under the race detector pools forget on purpose.)
func TestForwardAllocs(t *testing.T) {
	for name, edit := range map[string]func(*config.Forward){"plain": nil, "policy": full} {
		t.Run(name, func(t *testing.T) {
			run, w := forwarder(t, edit)
			defer w.close()
			for range 20 {
				run()
			}
			if got := testing.AllocsPerRun(200, run); got >= 1 {
				t.Errorf("%v allocations per exchange", got)
			}
		})
	}
}
