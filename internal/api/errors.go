package api

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// DecodeError is one mistake in a document.
type DecodeError struct {
	File   string // as the user named it; "-" for standard input
	Line   int    // 1-based; 0 where the input has no lines
	Object string // "VirtualService default/reviews"; empty before the header is known
	Path   string // field path in the object, "spec.http[0].route[1].weight"; empty for the whole object
	Msg    string // one sentence without a full stop
}

// Error gives "routes.yaml:12: VirtualService default/reviews: spec.http[0].rout: unknown field".
func (e *DecodeError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteString(":" + strconv.Itoa(e.Line))
	}
	for _, s := range []string{e.Object, e.Path, e.Msg} {
		if s == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(s)
	}
	return b.String()
}

// DecodeErrors lists the DecodeErrors that err, as Decode returns it, joins.
func DecodeErrors(err error) []*DecodeError {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*DecodeError
		for _, e := range joined.Unwrap() {
			all = append(all, DecodeErrors(e)...)
		}
		return all
	}
	var one *DecodeError
	if errors.As(err, &one) {
		return []*DecodeError{one}
	}
	return nil
}

// errorLimit bounds the report about one file; a file of another kind than it
// claims to be would otherwise give thousands of lines.
const errorLimit = 50

// problems collects the mistakes of one input.
type problems struct {
	file string
	list []*DecodeError
	// lenient puts unknown fields on a list of their own: what an API server of
	// another version stored is no mistake of the document.
	lenient bool
	unknown []*DecodeError
}

func (p *problems) add(object string, line int, path, msg string) {
	p.list = append(p.list, &DecodeError{File: p.file, Line: line, Object: object, Path: path, Msg: msg})
}

// err joins what was collected in the order of lines.
func (p *problems) err() error {
	slices.SortStableFunc(p.list, func(a, b *DecodeError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	var errs []error
	for i, e := range p.list {
		if i == errorLimit {
			errs = append(errs, &DecodeError{File: p.file, Msg: strconv.Itoa(len(p.list)-i) + " more errors"})
			break
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}
