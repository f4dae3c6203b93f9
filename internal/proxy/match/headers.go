package match

import (
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ApplyHeaders makes the header changes of ops, in order, to h. src is what
// command operators in values read; it may be nil if no value has any.
func ApplyHeaders(ops []config.HeaderOps, h *stream.Head, src *format.Source) {
	for i := range ops {
		apply(&ops[i], h, src)
	}
}

// change is a value that was computed and is still to be written.
type change struct {
	name       stream.Name
	start, end int // in the buffer of plain or of computed values
	computed   bool
	overwrite  bool
}

// apply follows Envoy's header evaluation: removals first; then all values are
// computed before any is written; then overwriting ones, then added ones.
func apply(ops *config.HeaderOps, h *stream.Head, src *format.Source) {
	for _, n := range ops.Remove {
		h.Del(n)
	}
	if len(ops.Add) == 0 {
		return
	}
	// Plain values lie on the stack; what operators append to has to be allocated.
	var fewBytes [256]byte
	var fewChanges [8]change
	plain, changes := fewBytes[:0], fewChanges[:0]
	var computed []byte
	for i := range ops.Add {
		a := &ops.Add[i]
		overwrite, ok := action(a, h)
		if !ok {
			continue
		}
		c := change{name: a.Name, overwrite: overwrite, computed: a.Format != nil && src != nil}
		if c.computed {
			c.start = len(computed)
			computed, _ = a.Format.AppendValue(computed, src)
			c.end = len(computed)
		} else {
			c.start = len(plain)
			plain = append(plain, a.Value...)
			c.end = len(plain)
		}
		if c.start < c.end || a.KeepEmpty {
			changes = append(changes, c)
		}
	}
	for _, overwrite := range [...]bool{true, false} {
		for i := range changes {
			c := &changes[i]
			if c.overwrite != overwrite {
				continue
			}
			value := plain
			if c.computed {
				value = computed
			}
			if value = value[c.start:c.end]; overwrite {
				h.Set(c.name, value)
			} else {
				h.Add(c.name, value)
			}
		}
	}
}

// action decides what becomes of one addition.
func action(a *config.HeaderAdd, h *stream.Head) (overwrite, ok bool) {
	switch a.Action {
	case config.AddIfAbsent:
		return false, !h.Has(a.Name)
	case config.OverwriteOrAdd:
		return true, true
	case config.OverwriteIfExists:
		return true, h.Has(a.Name)
	}
	return false, true
}
