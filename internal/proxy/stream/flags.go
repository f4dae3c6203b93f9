package stream

import (
	"slices"
	"strings"
)

// Notes are flags of an exchange beside that of its reason: what happened on the
// way to it.
type Notes uint8

const (
	NoteDelayed   Notes = 1 << iota // a delay was injected on purpose (DI)
	NoteExhausted                   // a retry was due and none was left (URX)
)

// Notes gives the notes of the exchange so far.
func (s *Stream) Notes() Notes {
	var n Notes
	if s.Delayed {
		n |= NoteDelayed
	}
	if s.RetriesExhausted {
		n |= NoteExhausted
	}
	return n
}

// Flags gives Envoy's %RESPONSE_FLAGS%: the flags of the notes and the code's, in the
// order in which they come about, as Envoy writes them; "" for none.
func Flags(c Code, n Notes) string {
	if n == 0 {
		return c.Flag()
	}
	var out []string
	if n&NoteDelayed != 0 {
		out = append(out, "DI")
	}
	if n&NoteExhausted != 0 {
		out = append(out, "URX")
	}
	if f := c.Flag(); f != "" && !slices.Contains(out, f) {
		out = append(out, f)
	}
	return strings.Join(out, ",")
}
