package kube

import "maps"

// TakePrior makes LoadPrior give what the ConfigMap lateen-prior holds (nil: there
// is none), in place of what this process saved. Replicas that do not lead call it
// when the leader has written.
func (s *Source) TakePrior(d *Document) {
	m := &s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stored = map[string][]byte{}
	if d != nil {
		maps.Copy(m.stored, d.Data)
	}
	clear(m.saved)
}
