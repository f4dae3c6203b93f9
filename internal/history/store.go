package history

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// Step is the resolution of what is kept.
const Step = 5 * time.Second

// Options bound a Store.
type Options struct {
	Retention time.Duration    // 0: 3 h
	Bytes     int64            // of logs and labels; 0: 64 MiB
	Sets      int              // of labels; 0: 50,000
	Now       func() time.Time // nil: time.Now
}

// Store holds the history of one mesh. It is safe for concurrent use.
type Store struct {
	o     Options
	start int64 // step of its making

	mu      sync.RWMutex
	sets    map[string]*set // guarded by mu; by labels
	order   []*set          // guarded by mu: in the order of keys; nil: to be made
	bytes   int64           // guarded by mu
	step    int64           // guarded by mu: the last that was closed
	refused int64           // guarded by mu: rows for which there was no room
	changed chan struct{}   // guarded by mu; closed and replaced when a step brought something
}

// New makes an empty store; Run closes its steps.
func New(o Options) *Store {
	if o.Retention == 0 {
		o.Retention = 3 * time.Hour
	}
	if o.Bytes == 0 {
		o.Bytes = 64 << 20
	}
	if o.Sets == 0 {
		o.Sets = 50_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{o: o, sets: map[string]*set{}, changed: make(chan struct{})}
	s.start = s.current() - 1
	s.step = s.start
	return s
}

func (s *Store) current() int64 { return s.o.Now().UnixNano() / int64(Step) }

// Run closes a step every five seconds, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	for {
		now := s.o.Now()
		next := now.Truncate(Step).Add(Step)
		select {
		case <-time.After(next.Sub(now)):
			s.Close()
		case <-ctx.Done():
			return nil
		}
	}
}

// Key is the identity of a set of labels, which are sorted by name.
func Key(labels []wire.Label) string {
	var b strings.Builder
	for _, l := range labels {
		b.WriteString(l.Name)
		b.WriteByte(0xff)
		b.WriteString(l.Value)
		b.WriteByte(0xff)
	}
	return b.String()
}

// Add counts. Labels are sorted by name, and the caller must not change them later.
// It reports whether there was room for the set.
func (s *Store) Add(key string, labels []wire.Label, cells []wire.Cell) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sets[key]
	if x == nil {
		if len(s.sets) >= s.o.Sets {
			s.refused++
			return false
		}
		x = &set{labels: labels, key: key}
		s.sets[key], s.order = x, nil
		s.bytes += setBytes + 2*int64(len(key))
	}
	for _, c := range cells {
		if c.Column >= 0 && c.Column < columns {
			x.now[c.Column] += c.Delta
			x.grew = true
		}
	}
	return true
}

// Close closes the step that has passed: what was counted since the last call
// belongs to it.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	step := max(s.current()-1, s.step+1)
	s.step = step
	any := false
	for _, x := range s.sets {
		if x.grew {
			s.bytes += x.write(step)
			any = true
		}
	}
	s.trim(step - int64(s.o.Retention/Step))
	if any {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// trim gives up blocks that end before a step, then the oldest until the rest fits.
func (s *Store) trim(before int64) {
	s.drop(before)
	for s.bytes > s.o.Bytes {
		oldest := int64(-1)
		for _, x := range s.sets {
			if len(x.blocks) > 0 && (oldest < 0 || x.blocks[0].to < oldest) {
				oldest = x.blocks[0].to
			}
		}
		if oldest < 0 || oldest >= s.step {
			return // what came in this step stays, whatever it takes
		}
		s.drop(max(oldest+1, before+int64(time.Minute/Step)))
		before += int64(time.Minute / Step)
	}
}

func (s *Store) drop(before int64) {
	for key, x := range s.sets {
		for len(x.blocks) > 0 && x.blocks[0].to < before {
			s.bytes -= x.blocks[0].size()
			x.blocks = x.blocks[1:]
		}
		if len(x.blocks) == 0 && !x.grew && x.now == x.written {
			delete(s.sets, key)
			s.order = nil
			s.bytes -= setBytes + 2*int64(len(key))
		}
	}
}

// Changed gives a channel that is closed when a step has brought something new.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Info tells how much is kept.
type Info struct {
	Sets    int
	Bytes   int64
	Oldest  time.Time // the first moment that anything is known of
	Newest  time.Time
	Refused int64 // rows for which there was no room
}

// Info tells how much is kept.
func (s *Store) Info() Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	oldest := max(s.start, s.step-int64(s.o.Retention/Step))
	return Info{Sets: len(s.sets), Bytes: s.bytes, Oldest: Time(oldest), Newest: Time(s.step), Refused: s.refused}
}

// Retention is how long anything is kept at most.
func (s *Store) Retention() time.Duration { return s.o.Retention }

// Time is the moment at which a step ends.
func Time(step int64) time.Time { return time.Unix(0, (step+1)*int64(Step)) }

// StepAt is the last step that has ended at a moment.
func StepAt(t time.Time) int64 { return t.UnixNano()/int64(Step) - 1 }

// sorted gives the sets in the order of their keys. The caller holds mu for writing.
func (s *Store) sorted() []*set {
	if s.order == nil {
		s.order = make([]*set, 0, len(s.sets))
		for _, x := range s.sets {
			s.order = append(s.order, x)
		}
		slices.SortFunc(s.order, func(a, b *set) int { return cmp.Compare(a.key, b.key) })
	}
	return s.order
}

// Grown is how a set's counters grew in a time.
type Grown struct {
	Labels []wire.Label // sorted by name; not to be changed
	Values Values
}

// Between gives how all sets grew from one moment to another, and the time that is
// really covered: less than was asked for where the history begins later.
func (s *Store) Between(from, to time.Time) (list []Grown, covered time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := min(StepAt(to), s.step)
	first := max(StepAt(from), s.start)
	if last <= first {
		return nil, 0
	}
	for _, x := range s.sorted() {
		end, ok := x.at(last)
		if !ok {
			continue
		}
		begin, _ := x.at(first)
		if grown := end.Sub(&begin); grown != (Values{}) {
			list = append(list, Grown{Labels: x.labels, Values: grown})
		}
	}
	return list, time.Duration(last-first) * Step
}

// Rows are a set's values at the end of each step that changed something. They begin
// with the values before the first of them. A Values is good until the next.
type Rows = iter.Seq2[int64, *Values]

// Read calls f with every set that match wants and that has anything in the time, and
// with its rows: from the last one at or before the time's beginning, to its end. final
// are its newest values. Sets come in the order of their keys. f must not call the
// Store.
func (s *Store) Read(from, to time.Time, match func(labels []wire.Label) bool, f func(labels []wire.Label, final *Values, rows Rows)) {
	first, last := StepAt(from), StepAt(to)
	s.mu.Lock()
	sets := s.sorted()
	s.mu.Unlock()
	for _, x := range sets {
		if !match(x.labels) {
			continue
		}
		s.mu.RLock()
		if len(x.blocks) > 0 && x.blocks[0].from <= last {
			f(x.labels, &x.written, func(yield func(int64, *Values) bool) {
				x.each(first, func(step int64, v *Values) bool { return step <= last && yield(step, v) })
			})
		}
		s.mu.RUnlock()
	}
}

// Newest is the last moment that is known.
func (s *Store) Newest() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Time(s.step)
}
