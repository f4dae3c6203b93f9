package kube

import (
	"encoding/json"
	"maps"
	"sync"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// lastGoodDocument is the prior document of objects whose newest version is not
// good: the version that stays in force, as JSON, by the object's Ref.
const lastGoodDocument = "objects"

// lastGood keeps the good versions of objects that were broken since, so that a
// replica that starts anew has the same in force as those that run.
type lastGood struct {
	mu   sync.Mutex
	kept map[string]json.RawMessage // guarded by mu
}

// find gives the version that was in force of an object; nil where none is kept.
func (g *lastGood) find(ref verdict.Ref, uid string) *api.Object {
	g.mu.Lock()
	text := g.kept[ref.String()]
	g.mu.Unlock()
	if text == nil {
		return nil
	}
	served, err := api.DecodeServed(text)
	if err != nil || served.Object.Meta.UID != uid {
		return nil // of another object, or of a version of Lateen that read more
	}
	return served.Object
}

// set replaces what is kept, and reports whether it differs.
func (g *lastGood) set(kept map[string]json.RawMessage) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if maps.EqualFunc(g.kept, kept, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
		return false
	}
	g.kept = kept
	return true
}

// recallGood reads what is kept, before anything is watched. Without it the source
// works; objects that are broken have no effect then.
func (s *Source) recallGood() {
	kept := map[string]json.RawMessage{}
	if _, err := s.LoadPrior(lastGoodDocument, &kept); err != nil {
		s.log.Warn("the last good versions of broken objects are not known", "err", err)
	}
	s.good.set(kept)
}

// keepGood remembers the versions that broken objects have in force.
func (s *Source) keepGood(broken []*api.Object) {
	kept := map[string]json.RawMessage{}
	for _, o := range broken {
		text, err := api.EncodeJSON(o)
		if err != nil {
			s.log.Error("the last good version of an object is not kept", "object", o.Ref().String(), "err", err)
			continue
		}
		kept[o.Ref().String()] = text
	}
	if !s.good.set(kept) {
		return
	}
	if err := s.SavePrior(lastGoodDocument, kept); err != nil {
		s.log.Error("the last good versions of objects are not kept", "err", err)
	}
}
