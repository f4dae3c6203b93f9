package stream

import "strings"

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

// order is Envoy's order of the flags that can stand together.
var order = [...]string{"UH", "UT", "UF", "UC", "UO", "NR", "DI", "FI", "DC", "URX", "SI", "DPE", "UMSDR", "UPE", "NC", "OM"}

// Flags gives Envoy's %RESPONSE_FLAGS%: the code's flag and those of the notes, in
// Envoy's order; "" for none.
func Flags(c Code, n Notes) string {
	if n == 0 {
		return c.Flag()
	}
	set := map[string]bool{c.Flag(): true}
	if n&NoteDelayed != 0 {
		set["DI"] = true
	}
	if n&NoteExhausted != 0 {
		set["URX"] = true
	}
	var out []string
	for _, f := range order {
		if set[f] {
			out = append(out, f)
		}
	}
	return strings.Join(out, ",")
}
