package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Change says what an operation did to an object, in kubectl's words.
type Change string

// The changes.
const (
	Created    Change = "created"
	Configured Change = "configured"
	Unchanged  Change = "unchanged"
	Deleted    Change = "deleted"
)

// Outcome is the change of one object.
type Outcome struct {
	Object *api.Object // as stored; of a deleted object its last form
	Change Change
}

// Result is what a change of the table did, in the order of the input.
type Result struct {
	Revision int64 // of the table afterwards
	Outcomes []Outcome
}

// NotFoundError says that there is no such object.
type NotFoundError struct{ Ref verdict.Ref }

// Error implements error.
func (e *NotFoundError) Error() string { return e.Ref.String() + " not found" }

// ConflictError says that an object belongs to another source or is given twice.
type ConflictError struct {
	Ref verdict.Ref
	Msg string
}

// Error implements error.
func (e *ConflictError) Error() string { return e.Ref.String() + ": " + e.Msg }

// Apply puts objects into the table: all of them or, with an error, none. The
// error joins one error for each object that cannot go in. An object that equals
// the stored one is left unchanged; a change of its content counts its
// generation up, a change of labels or annotations does not.
func (s *Store) Apply(objects []*api.Object) (Result, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	c, err := s.planApply(objects)
	if err != nil {
		return Result{}, err
	}
	return c.result, s.commit(c)
}

// Plan says what Apply would do and changes nothing.
func (s *Store) Plan(objects []*api.Object) (Result, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	c, err := s.planApply(objects)
	if err != nil {
		return Result{}, err
	}
	return c.result, nil
}

// Delete removes applied objects. Objects that do not exist give a
// *NotFoundError each, and the others are removed all the same; any other error
// leaves everything as it was.
func (s *Store) Delete(refs []verdict.Ref) (Result, error) {
	return s.remove(refs, true)
}

// PlanDelete says what Delete would do and changes nothing.
func (s *Store) PlanDelete(refs []verdict.Ref) (Result, error) {
	return s.remove(refs, false)
}

func (s *Store) remove(refs []verdict.Ref, really bool) (Result, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	c := s.begin()
	var missing, conflicts []error
	for _, ref := range refs {
		e := s.entries[ref]
		switch {
		case e == nil || !e.active || c.removed[ref]:
			missing = append(missing, &NotFoundError{Ref: ref})
		case e.root != "":
			conflicts = append(conflicts, fromDirectory(e))
		default:
			c.remove(e)
		}
	}
	if err := errors.Join(conflicts...); err != nil {
		return Result{}, err
	}
	if really {
		if err := s.commit(c); err != nil {
			return Result{}, err
		}
	}
	return c.result, errors.Join(missing...)
}

func fromDirectory(e *entry) error {
	return &ConflictError{Ref: e.object.Ref(), Msg: fmt.Sprintf("the object comes from the watched file %s; change it there", e.object.Source.File)}
}

// change is a set of changes that is committed as one.
type change struct {
	store   *Store
	put     map[verdict.Ref]*entry
	removed map[verdict.Ref]bool
	result  Result
	now     int64
	// dirty names the entries of put that differ from what is stored.
	dirty map[verdict.Ref]bool
}

func (s *Store) begin() *change {
	return &change{
		store: s, put: map[verdict.Ref]*entry{}, removed: map[verdict.Ref]bool{}, dirty: map[verdict.Ref]bool{},
		result: Result{Revision: s.view.Load().revision}, now: s.now().UnixNano(),
	}
}

func (s *Store) planApply(objects []*api.Object) (*change, error) {
	c := s.begin()
	first := map[verdict.Ref]*api.Object{}
	var errs []error
	for _, o := range objects {
		ref := o.Ref()
		if earlier := first[ref]; earlier != nil {
			errs = append(errs, &ConflictError{Ref: ref, Msg: fmt.Sprintf("given twice, at %s and %s", place(earlier.Source), place(o.Source))})
			continue
		}
		first[ref] = o
		if err := s.validate(o); err != nil {
			errs = append(errs, err)
			continue
		}
		if old := s.entries[ref]; old != nil && old.active && old.root != "" {
			errs = append(errs, fromDirectory(old))
			continue
		}
		c.apply(o, origin{})
	}
	return c, errors.Join(errs...)
}

func place(s api.Source) string {
	if s.File == "" {
		return "an unnamed input"
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// next is the revision that the change makes.
func (c *change) next() int64 { return c.store.view.Load().revision + 1 }

// apply adds an object to the change.
func (c *change) apply(o *api.Object, from origin) {
	ref := o.Ref()
	old := c.store.entries[ref]
	if old != nil && !old.active && old.root != from.root {
		old = nil // remembered for another directory: another object of this name
	}
	stored := *o
	stored.Meta = api.Meta{
		Namespace: o.Meta.Namespace, Name: o.Meta.Name, Labels: o.Meta.Labels, Annotations: o.Meta.Annotations,
		UID: newUID(), Generation: 1, Version: c.next(), Created: c.now,
	}
	what := Created
	if old != nil {
		m := &old.object.Meta
		stored.Meta.UID, stored.Meta.Created, stored.Meta.Generation = m.UID, m.Created, m.Generation
		sameSpec := api.SameSpec(old.object, o)
		switch {
		case !sameSpec:
			stored.Meta.Generation++
			what = Configured
		case !maps.Equal(m.Labels, o.Meta.Labels) || !maps.Equal(m.Annotations, o.Meta.Annotations):
			what = Configured
		default:
			stored.Meta.Version = m.Version
			what = Unchanged
		}
	}
	c.result.Outcomes = append(c.result.Outcomes, Outcome{Object: &stored, Change: what})
	// An unchanged object is put as well: its place in the file may be another,
	// and the lines of the newest text are those that messages should name.
	c.put[ref] = &entry{object: &stored, origin: from, active: true}
	if what != Unchanged || !old.active {
		c.result.Revision = c.next()
	}
	c.dirty[ref] = what != Unchanged || old.origin != from ||
		old.object.Source.File != o.Source.File || old.object.Source.Line != o.Source.Line
}

func (c *change) remove(e *entry) {
	ref := e.object.Ref()
	c.removed[ref] = true
	if e.active {
		c.result.Revision = c.next()
		c.result.Outcomes = append(c.result.Outcomes, Outcome{Object: e.object, Change: Deleted})
	}
}

// commit writes the change to disk, then shows it to readers. Nothing is
// visible of a change that could not be written.
func (s *Store) commit(c *change) error {
	if s.lock == nil {
		return errors.New("the configuration store is closed")
	}
	if s.broken != nil {
		return fmt.Errorf("the configuration store accepts no changes until it is opened again: %w", s.broken)
	}
	if err := s.write(c); err != nil {
		return fmt.Errorf("storing the configuration: %w", err)
	}
	maps.Copy(s.entries, c.put)
	for ref := range c.removed {
		delete(s.entries, ref)
	}
	s.publish(c.result.Revision)
	return nil
}

// newUID makes a random UUID (RFC 9562, version 4), the form of Kubernetes' UIDs.
func newUID() string {
	var b [16]byte
	rand.Read(b[:]) // crypto/rand never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
