// Package demand asks the control plane for what a workload is about to call, so
// that a proxy holds no more of the mesh than that.
//
// A question is an address that a connection was made to, or an authority that no
// known host answers to. The first use waits for the answer, which comes after all
// that the call needs is in force; later uses find it in a map. "The mesh does not
// know this place" is an answer too. Where none comes, since the control plane is
// away, known places are served on and unknown ones fail with the reason
// not_subscribed: never do they pass by the mesh's rules in silence.
package demand

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// Options configure a Table; Subscribe and Unsubscribe are required.
type Options struct {
	// Subscribe asks for resources of wire.DemandType by name, Unsubscribe ends the
	// interest. They are called without a lock of the Table's and must not block.
	Subscribe, Unsubscribe func(names ...string)
	// Patience is how long a first use waits for its answer; 0: 2 s.
	Patience time.Duration
	// Idle is how long a place is remembered that is not used; 0: 30 minutes. No less
	// than a minute.
	Idle time.Duration
	// Most bounds the places that are known at once; 0: 2,048. Of a workload that scans
	// addresses, those used longest ago are forgotten.
	Most int
	Now  func() time.Time // nil: time.Now
}

// Table knows the places that were asked for. It is safe for concurrent use.
type Table struct {
	o       Options
	enabled atomic.Bool
	known   chan struct{} // closed once it is known whether the control plane answers
	knowing sync.Once

	asked, failed atomic.Uint64

	mu     sync.RWMutex
	places map[wire.Question]*place // guarded by mu
	swept  time.Time                // guarded by mu
}

// place is one question with its answer.
type place struct {
	answered chan struct{} // closed with the first answer
	used     atomic.Int64  // Unix seconds, coarse

	once sync.Once
	why  atomic.Pointer[string] // why the control plane did not look; nil: it did
}

// resolution is how exactly the last use of a place is known, in seconds.
const resolution = 15

// New makes a table. Everything waits until it is known whether the control plane
// answers, and passes if it does not.
func New(o Options) *Table {
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	if o.Idle == 0 {
		o.Idle = 30 * time.Minute
	}
	o.Idle = max(o.Idle, time.Minute)
	if o.Most == 0 {
		o.Most = 2048
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Table{o: o, places: map[wire.Question]*place{}, known: make(chan struct{})}
}

// Start asks whether the control plane answers.
func (t *Table) Start() { t.o.Subscribe(wire.DemandReady) }

// Configured says that a first configuration has come: a control plane that answers
// does so by now, or soon. It may be called often.
func (t *Table) Configured() {
	select {
	case <-t.known:
	default:
		time.AfterFunc(t.o.Patience, t.decide)
	}
}

func (t *Table) decide() { t.knowing.Do(func() { close(t.known) }) }

// Enabled reports whether it does: else it gives everything unasked.
func (t *Table) Enabled() bool { return t.enabled.Load() }

// Stats are the number of questions so far, of those that got no answer in time, and
// of the places known now.
func (t *Table) Stats() (asked, failed uint64, places int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.asked.Load(), t.failed.Load(), len(t.places)
}

// Address waits until the configuration for an address that the workload has
// connected to is in force, if the mesh knows it. The error is a stream.Reason.
func (t *Table) Address(to netip.AddrPort) error {
	return t.await(wire.Question{Addr: to.Addr().Unmap(), Port: to.Port()})
}

// Authority is Address for the authority of a request, in lower case and without its
// port, on a port of the mesh.
func (t *Table) Authority(host string, port uint16) error {
	return t.await(wire.Question{Host: host, Port: port})
}

func (t *Table) await(q wire.Question) error {
	if !t.enabled.Load() {
		<-t.known
		if !t.enabled.Load() {
			return nil
		}
	}
	now := t.o.Now()
	t.mu.RLock()
	p := t.places[q]
	t.mu.RUnlock()
	if p == nil {
		p = t.ask(q, now)
	}
	if at := now.Unix(); at-p.used.Load() > resolution {
		p.used.Store(at)
	}
	select {
	case <-p.answered:
		return p.verdict(q)
	default:
	}
	timer := time.NewTimer(t.o.Patience)
	defer timer.Stop()
	select {
	case <-p.answered:
		return p.verdict(q)
	case <-timer.C:
		t.failed.Add(1)
		return stream.Reason{Code: stream.NotSubscribed, Detail: fmt.Sprintf("%s is not known here, and the control plane did not answer within %v", q.Name(), t.o.Patience)}
	}
}

func (p *place) verdict(q wire.Question) error {
	if why := p.why.Load(); why != nil {
		return stream.Reason{Code: stream.NotSubscribed, Detail: fmt.Sprintf("the control plane did not look for %s: %s", q.Name(), *why)}
	}
	return nil
}

// ask adds a place, and forgets some that were not used for long.
func (t *Table) ask(q wire.Question, now time.Time) *place {
	t.mu.Lock()
	if p := t.places[q]; p != nil {
		t.mu.Unlock()
		return p
	}
	var old []string
	if now.Sub(t.swept) > t.o.Idle/4 {
		old = t.sweep(now)
	}
	if len(t.places) >= t.o.Most {
		old = append(old, t.evict())
	}
	p := &place{answered: make(chan struct{})}
	p.used.Store(now.Unix())
	t.places[q] = p
	t.mu.Unlock()
	if len(old) > 0 {
		t.o.Unsubscribe(old...)
	}
	t.asked.Add(1)
	t.o.Subscribe(q.Name())
	return p
}

// sweep forgets what has not been used for the idle time. Called with mu held.
func (t *Table) sweep(now time.Time) (old []string) {
	t.swept = now
	limit := now.Add(-t.o.Idle).Unix() - resolution
	for q, p := range t.places {
		if p.used.Load() < limit {
			delete(t.places, q)
			old = append(old, q.Name())
		}
	}
	return old
}

// evict forgets the place that was used longest ago, of some: maps are walked from a
// random start. Called with mu held.
func (t *Table) evict() string {
	const some = 64
	var victim wire.Question
	oldest, seen := int64(math.MaxInt64), 0
	for q, p := range t.places {
		if at := p.used.Load(); at < oldest {
			victim, oldest = q, at
		}
		if seen++; seen == some {
			break
		}
	}
	delete(t.places, victim)
	return victim.Name()
}

// Update takes answers, as client.Handler does. What was withdrawn stays answered:
// its configuration went by itself.
func (t *Table) Update(added []client.Resource, rejected map[string]error) {
	for _, r := range added {
		q, err := wire.ParseQuestion(r.Name)
		var a wire.Answer
		if err == nil {
			a, err = wire.UnmarshalAnswer(r.Body)
		}
		if err != nil {
			rejected[r.Name] = err
			continue
		}
		if q == (wire.Question{}) {
			t.enabled.Store(true)
			t.decide()
			continue
		}
		t.mu.RLock()
		p := t.places[q]
		t.mu.RUnlock()
		if p == nil {
			continue // forgotten meanwhile
		}
		if a.Refused != "" {
			p.why.Store(&a.Refused)
		} else {
			p.why.Store(nil)
		}
		p.once.Do(func() { close(p.answered) })
	}
}
