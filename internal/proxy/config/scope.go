package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// scope is a place in a resource, for errors: `listener "a": filter_chains[0].name`.
// It is a list towards the root, so that making one costs nothing while all is
// well.
type scope struct {
	up    *scope
	name  string
	index int // ≥ 0: an element of the list name
}

// root is the scope of a resource of the given kind.
func root(kind, name string) *scope { return &scope{name: fmt.Sprintf("%s %q", kind, name), index: -1} }

func (s *scope) at(field string) *scope { return &scope{up: s, name: field, index: -1} }

func (s *scope) item(field string, i int) *scope { return &scope{up: s, name: field, index: i} }

// errorf makes an error that begins with the place. It takes %w.
func (s *scope) errorf(text string, args ...any) error {
	return fmt.Errorf("%s: "+text, append([]any{s.String()}, args...)...)
}

// unsupported is the error for a value that is correct but beyond this proxy.
func (s *scope) unsupported() error { return s.errorf("is not supported by this proxy") }

// String gives the resource and the field path.
func (s *scope) String() string {
	var parts []string
	top := s
	for ; top.up != nil; top = top.up {
		p := top.name
		if top.index >= 0 {
			p += "[" + strconv.Itoa(top.index) + "]"
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return top.name
	}
	slices.Reverse(parts)
	return top.name + ": " + strings.Join(parts, ".")
}
