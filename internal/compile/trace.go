package compile

import (
	"cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Question is one thing that a compilation wanted to know: a fact of the client, or
// the revision of a part of the mesh.
type Question struct {
	about about
	name  string
}

// OfClient reports whether the answer depends on who calls; the others are the same
// for all.
func (q Question) OfClient() bool { return q.about < aboutMesh }

// Compare orders questions.
func (q Question) Compare(o Question) int {
	return cmp.Or(cmp.Compare(q.about, o.about), cmp.Compare(q.name, o.name))
}

// about is what a question is about.
type about uint8

// What compilations ask: facts of the client, then parts of the mesh (mesh.Part).
const (
	isIn         about = iota // name: a namespace
	carries                   // name: labels, as text
	hasAddr                   // name: an address
	itsLabel                  // name: a label's key
	itsDataPlane              // name: none, from here on
	itsRole
	itsInterception
	itsPlace
	itsHeaders
	itsNames
	itsFamily
	itsScope
	aboutMesh
	remembered = aboutMesh + 1 + about(mesh.TheSettings) // name: a rule's key
)

func aboutPart(p mesh.Part) about { return aboutMesh + about(p) }

// Step is a question with the answer that was given.
type Step struct {
	Question
	Answer uint64
}

// trace notes what a compilation asks, each question once, in order.
type trace struct {
	steps []Step
	seen  map[Question]bool
}

func (t *trace) note(q Question, answer uint64) {
	if t.seen[q] {
		return
	}
	if t.seen == nil {
		t.seen = map[Question]bool{}
	}
	t.seen[q] = true
	t.steps = append(t.steps, Step{q, answer})
}
