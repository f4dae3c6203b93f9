// Package format compiles Envoy's command operators ("%REQ(:METHOD)%") into
// programs that append their text without parsing anything while serving. Access
// logs and header operations use it.
//
// The operators and their results are those of Envoy's page "Access logging,
// command operators". An operator that this package does not know is an error: a
// format is refused when it is configured, not when it is written.
package format

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// EnvoyDefault is the text format of an access log that configures none (Envoy's
// page "Access logging, default format string").
const EnvoyDefault = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// Source is what operators read. Parts that are not known yet are nil: a request
// header operation has a Stream alone, an access log has all three.
type Source struct {
	Stream   *stream.Stream   // never nil; its Conn may be
	Response *stream.Response // nil before there is one
	Outcome  *stream.Outcome  // nil before the exchange has ended
}

// op appends one piece of text. It reports false, and appends nothing, where the
// source has no value.
type op func(dst []byte, src *Source) ([]byte, bool)

// part is a literal (op is nil) or an operator with its length limit.
type part struct {
	text string // the literal, or the operator as written
	op   op
	max  int // longest value in bytes; 0: no limit
}

// Program is a compiled format. It is immutable and safe for concurrent use.
type Program struct {
	parts []part
	text  string
}

// Parse compiles a format string. "%%" stands for a percent sign.
func Parse(text string) (*Program, error) {
	parts, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("format %q: %w", text, err)
	}
	return &Program{parts: parts, text: text}, nil
}

// String gives the format as it was written.
func (p *Program) String() string { return p.text }

// Append appends the text for src to dst; "-" stands for a value that is not
// there, as in Envoy's logs.
func (p *Program) Append(dst []byte, src *Source) []byte { return p.append(dst, src, "-") }

// AppendValue is Append for header values: what is not there is left empty, and
// ok is false if the whole program is one operator without a value.
func (p *Program) AppendValue(dst []byte, src *Source) (out []byte, ok bool) {
	before := len(dst)
	dst = p.append(dst, src, "")
	return dst, len(dst) > before
}

func (p *Program) append(dst []byte, src *Source, missing string) []byte {
	for i := range p.parts {
		pt := &p.parts[i]
		if pt.op == nil {
			dst = append(dst, pt.text...)
			continue
		}
		start := len(dst)
		var ok bool
		if dst, ok = pt.op(dst, src); !ok {
			dst = append(dst[:start], missing...)
			continue
		}
		if pt.max > 0 && len(dst)-start > pt.max {
			dst = dst[:start+pt.max]
		}
	}
	return dst
}
