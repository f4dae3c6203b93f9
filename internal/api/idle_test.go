package api

import "testing"

// TestEveryKindActsOrSaysWhyNot: no kind is stored in silence.
func TestEveryKindActsOrSaysWhyNot(t *testing.T) {
	known := map[string]bool{}
	for _, k := range Kinds() {
		known[k.ID()] = true
		code, message, ok := k.Idle()
		if ok == k.Acts {
			t.Errorf("%s: Acts is %v, and idle.go has an entry: %v; it must be one of the two", k.ID(), k.Acts, ok)
		}
		if ok && (message == "" || !code.Problem()) {
			t.Errorf("%s: %q %q is no verdict", k.ID(), code, message)
		}
	}
	for name := range idle {
		if !known[name] {
			t.Errorf("idle.go names %s, which is no kind", name)
		}
	}
}
