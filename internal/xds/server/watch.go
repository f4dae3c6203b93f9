package server

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxResponse bounds the bytes of one incremental response, so that one large
// push does not hold megabytes for each connection.
const maxResponse = 256 << 10

// wildcard subscribes to all resources of a type.
const wildcard = "*"

// watch is a client's subscription to one type. Its Conn's mutex guards it.
type watch struct {
	typeURL string
	full    bool // state-of-the-world responses hold everything
	all     bool // wildcard
	names   map[string]bool
	turns   int64                // counts the changes of names
	have    map[string]*Resource // what the client was sent; Body is nil where only the version is known
	again   map[string]bool      // what the client has and must be sent all the same
	absent  map[string]bool      // names that the client knows not to exist
	empty   bool                 // the client waits for a first response, even an empty one
	// clean is the state of the type in which nothing was found to be sent or removed
	// and after which nothing was asked: while it is wanted, nobody need look again.
	clean map[string]*Resource

	outstanding map[string]*sentResponse // by nonce
	lastNonce   string
	lastVersion string
	opened      time.Time
	lastSent    time.Time
	lastAck     time.Time
	refusals    map[string]Refusal // by resource name
}

// sentResponse is a response that the client has not answered.
type sentResponse struct {
	names    []string
	revision int64
}

// Refusal is a resource that a client rejected (NACK).
type Refusal struct {
	TypeURL  string
	Name     string
	Version  string
	Message  string
	Revision int64
	At       time.Time
}

func newWatch(typeURL string, full bool) *watch {
	return &watch{
		typeURL: typeURL, full: full, names: map[string]bool{}, have: map[string]*Resource{}, again: map[string]bool{}, absent: map[string]bool{},
		outstanding: map[string]*sentResponse{}, refusals: map[string]Refusal{}, empty: true,
	}
}

// shortType gives "Cluster" for the type URL of clusters.
func (w *watch) shortType() string { return ShortType(w.typeURL) }

// ShortType gives the last word of a type URL.
func ShortType(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }

// start takes the first request for the type in a stream. A client that
// reconnects says what it has: that is not sent again.
func (w *watch) start(r request) {
	if len(r.subscribe) == 0 && w.full {
		w.all = true // the legacy form of a wildcard, for listeners and clusters
	}
	for name, version := range r.known {
		w.have[name] = &Resource{Name: name, Version: version}
		w.empty = false
	}
	w.turns++
	w.clean = nil
	w.subscribe(r.subscribe)
}

func (w *watch) subscribe(names []string) {
	for _, n := range names {
		if n == wildcard {
			w.all = true
			continue
		}
		w.names[n] = true
	}
}

// change applies later subscriptions. A name that is subscribed again is sent
// again: clients do so when they have dropped it, or warm what refers to it.
func (w *watch) change(r request) {
	if r.replace || len(r.subscribe)+len(r.unsubscribe) > 0 {
		w.turns++
		w.clean = nil
	}
	if r.replace {
		if len(r.subscribe) == 0 && w.all {
			return // an ACK of a wildcard in the form without names
		}
		names := map[string]bool{}
		for _, n := range r.subscribe {
			names[n] = true
		}
		for n := range w.names {
			if !names[n] {
				delete(w.have, n)
				delete(w.absent, n)
			}
		}
		w.names, w.all = map[string]bool{}, false
		w.subscribe(r.subscribe)
		return
	}
	for _, n := range r.subscribe {
		delete(w.have, n)
		delete(w.absent, n)
	}
	w.subscribe(r.subscribe)
	for _, n := range r.unsubscribe {
		if n == wildcard {
			w.all = false
		}
		delete(w.names, n)
		if !w.all {
			delete(w.have, n)
		}
		delete(w.absent, n)
		delete(w.refusals, n)
	}
}

// answer books an ACK or NACK. It is false for a nonce that is not outstanding.
func (w *watch) answer(r request, now time.Time) bool {
	s, ok := w.outstanding[r.nonce]
	if !ok {
		return r.nonce == w.lastNonce // a change of subscriptions repeats the last nonce
	}
	delete(w.outstanding, r.nonce)
	if r.refused == "" {
		w.lastAck = now
		for _, n := range s.names {
			delete(w.refusals, n)
		}
		return true
	}
	for _, n := range refusedNames(s.names, r.refused) {
		f := Refusal{TypeURL: w.typeURL, Name: n, Message: r.refused, Revision: s.revision, At: now}
		if h := w.have[n]; h != nil {
			f.Version = h.Version
		}
		w.refusals[n] = f
	}
	return true
}

// refusedNames finds which of a response's resources an error speaks of; all,
// when it names none.
func refusedNames(names []string, message string) []string {
	var found []string
	for _, n := range names {
		if strings.Contains(message, n) {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return names
	}
	return found
}

// wants reports whether the client subscribes to the name.
func (w *watch) wants(name string) bool { return w.all || w.names[name] }

func (w *watch) stale(r *Resource) bool {
	h := w.have[r.Name]
	return h == nil || h.Version != r.Version || w.again[r.Name]
}

// due reports whether the state holds something that the client should be told,
// removals aside.
func (w *watch) due(s *State, incremental bool) bool {
	if w.empty && (w.all || len(w.names) > 0 && !incremental) {
		return true
	}
	if w.isClean(s) {
		return false
	}
	list := s.Types[w.typeURL]
	if w.all {
		for _, r := range list {
			if w.stale(r) {
				return true
			}
		}
	}
	for n := range w.names {
		if r := list[n]; r != nil && w.stale(r) || r == nil && incremental && !w.absent[n] && w.have[n] == nil {
			return true
		}
	}
	return false
}

// isClean reports whether the state's resources are those in which nothing is due.
func (w *watch) isClean(s *State) bool {
	list := s.Types[w.typeURL]
	return list != nil && reflect.ValueOf(list).Pointer() == reflect.ValueOf(w.clean).Pointer()
}

// additions makes the response for what is due.
func (w *watch) additions(s *State, incremental bool) response {
	var r response
	list := s.Types[w.typeURL]
	if !incremental && w.full {
		// The whole state, and what will be removed later: its users still run.
		keep := maps.Clone(w.have)
		for n, x := range list {
			if w.wants(n) {
				keep[n] = x
			}
		}
		for _, n := range slices.Sorted(maps.Keys(keep)) {
			if keep[n].Body != nil {
				r.resources = append(r.resources, keep[n])
			}
		}
		return r
	}
	size := 0
	for _, n := range w.pending(list, incremental) {
		x := list[n]
		if x == nil {
			r.removed = append(r.removed, n)
			continue
		}
		if size += len(x.Body); size > maxResponse && len(r.resources) > 0 {
			return r
		}
		r.resources = append(r.resources, x)
	}
	return r
}

// pending lists the names that the client subscribes to and does not know the state
// of, sorted.
func (w *watch) pending(list map[string]*Resource, incremental bool) []string {
	var out []string
	if w.all {
		for n, x := range list {
			if w.stale(x) {
				out = append(out, n)
			}
		}
	}
	for n := range w.names {
		switch x := list[n]; {
		case x == nil:
			if incremental && !w.absent[n] && w.have[n] == nil {
				out = append(out, n)
			}
		case !w.all && w.stale(x):
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// wanted lists the names that the client subscribes to, sorted.
func (w *watch) wanted(list map[string]*Resource) []string {
	names := map[string]bool{}
	maps.Copy(names, w.names)
	if w.all {
		for n := range list {
			names[n] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// surplus reports whether the client has what it should not have any more.
func (w *watch) surplus(s *State) bool {
	if w.isClean(s) {
		return false
	}
	list := s.Types[w.typeURL]
	for n := range w.have {
		if list[n] == nil {
			return true
		}
	}
	return false
}

// removals finds what the client has and should not have any more.
func (w *watch) removals(s *State, incremental bool) (resources []*Resource, removed []string, any bool) {
	list := s.Types[w.typeURL]
	for n := range w.have {
		if list[n] == nil {
			removed = append(removed, n)
		}
	}
	if len(removed) == 0 {
		return nil, nil, false
	}
	w.clean = nil
	slices.Sort(removed)
	if incremental {
		return nil, removed, true
	}
	for _, n := range removed {
		delete(w.have, n)
		delete(w.refusals, n)
	}
	if !w.full {
		return nil, nil, false // the client drops what nothing refers to
	}
	for _, n := range w.wanted(list) {
		if x := list[n]; x != nil {
			resources = append(resources, x)
		}
	}
	return resources, nil, true
}

// sent books a response.
func (w *watch) sent(r response, revision int64, now time.Time) {
	w.empty, w.clean = false, nil
	w.lastNonce, w.lastVersion, w.lastSent = r.nonce, r.version, now
	s := &sentResponse{revision: revision}
	for _, x := range r.resources {
		w.have[x.Name] = x
		delete(w.again, x.Name)
		delete(w.absent, x.Name)
		s.names = append(s.names, x.Name)
	}
	for _, n := range r.removed {
		delete(w.have, n)
		delete(w.again, n)
		delete(w.refusals, n)
		if w.names[n] {
			w.absent[n] = true
		}
	}
	w.outstanding[r.nonce] = s
}
