package demand

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// server answers questions after a while.
type server struct {
	t      *Table
	delay  time.Duration // negative: never
	answer wire.Answer

	mu    sync.Mutex
	names []string // subscribed to now
	asked int
}

func (s *server) subscribe(names ...string) {
	s.mu.Lock()
	s.names = append(s.names, names...)
	s.asked += len(names)
	s.mu.Unlock()
	if s.delay < 0 {
		return
	}
	body, delay := s.answer.Marshal(), s.delay
	go func() {
		time.Sleep(delay)
		for _, n := range names {
			s.t.Update([]client.Resource{{Name: n, Body: body}}, map[string]error{})
		}
	}()
}

func (s *server) unsubscribe(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		i := slices.Index(s.names, n)
		if i < 0 {
			panic("not subscribed to " + n)
		}
		s.names = slices.Delete(s.names, i, i+1)
	}
}

func start(o Options) *server {
	s := &server{answer: wire.Answer{Hosts: []string{"a"}}, delay: time.Millisecond}
	o.Subscribe, o.Unsubscribe = s.subscribe, s.unsubscribe
	s.t = New(o)
	s.t.Start()
	synctest.Wait()
	time.Sleep(10 * time.Millisecond)
	return s
}

var place1 = netip.MustParseAddrPort("10.96.0.1:80")

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(Options{})
		if !s.t.Enabled() {
			t.Fatal("not enabled")
		}
		s.delay = 30 * time.Millisecond
		begin := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := s.t.Address(place1); err != nil {
					t.Error(err)
				}
				if d := time.Since(begin); d != 30*time.Millisecond {
					t.Errorf("after %v", d)
				}
			})
		}
		wg.Wait()
		begin = time.Now()
		if err := s.t.Address(netip.AddrPortFrom(netip.AddrFrom16(place1.Addr().As16()), 80)); err != nil || time.Since(begin) != 0 {
			t.Errorf("again: %v after %v", err, time.Since(begin))
		}
		if s.asked != 2 { // whether it answers, and the place
			t.Errorf("%d questions", s.asked)
		}
		if err := s.t.Authority("reviews", 80); err != nil || s.asked != 3 {
			t.Errorf("an authority: %v, %d questions", err, s.asked)
		}
	})
}

// TestBeforeItIsKnown: what is called before the control plane has said that it
// answers waits for that; one that does not answer gives everything unasked.
func TestBeforeItIsKnown(t *testing.T) {
	for _, answers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{delay: -1}
			s.t = New(Options{Subscribe: s.subscribe, Unsubscribe: s.unsubscribe, Patience: time.Second})
			s.t.Start()
			begin := time.Now()
			go func() {
				time.Sleep(5 * time.Second) // it takes its time to come
				s.t.Configured()
				if answers {
					time.Sleep(100 * time.Millisecond)
					s.delay = time.Millisecond
					s.t.Update([]client.Resource{{Name: wire.DemandReady}}, map[string]error{})
				}
			}()
			err := s.t.Address(place1)
			want, asked := 6*time.Second, 1
			if answers {
				want, asked = 5101*time.Millisecond, 2
			}
			if err != nil || time.Since(begin) != want || s.asked != asked {
				t.Errorf("answers %t: %v after %v, %d questions", answers, err, time.Since(begin), s.asked)
			}
			time.Sleep(time.Minute) // timers end
		})
	}
}

// TestAway: without the control plane what is known goes on, and what is not fails
// with its reason; a late answer counts.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(Options{Patience: time.Second})
		if err := s.t.Address(place1); err != nil {
			t.Fatal(err)
		}
		s.delay = -1
		begin := time.Now()
		if err := s.t.Address(place1); err != nil || time.Since(begin) != 0 {
			t.Errorf("known: %v after %v", err, time.Since(begin))
		}
		other := netip.MustParseAddrPort("10.96.0.2:80")
		var why stream.Reason
		if err := s.t.Address(other); !errors.As(err, &why) || why.Code != stream.NotSubscribed || time.Since(begin) != time.Second {
			t.Errorf("unknown: %v after %v", err, time.Since(begin))
		}
		if _, failed, _ := s.t.Stats(); failed != 1 {
			t.Errorf("%d failed", failed)
		}
		s.t.Update([]client.Resource{{Name: "addr/10.96.0.2:80"}}, map[string]error{})
		if err := s.t.Address(other); err != nil {
			t.Errorf("after the answer: %v", err)
		}
	})
}

func TestRefusedAndBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(Options{})
		s.answer = wire.Answer{Refused: "too many"}
		var why stream.Reason
		if err := s.t.Address(place1); !errors.As(err, &why) || why.Code != stream.NotSubscribed {
			t.Errorf("refused: %v", err)
		}
		s.t.Update([]client.Resource{{Name: wire.Question{Addr: place1.Addr(), Port: 80}.Name()}}, map[string]error{})
		if err := s.t.Address(place1); err != nil {
			t.Errorf("corrected: %v", err)
		}
		rejected := map[string]error{}
		s.t.Update([]client.Resource{{Name: "x"}, {Name: "host/a:80", Body: []byte{0xff}}}, rejected)
		if len(rejected) != 2 {
			t.Errorf("rejected %v", rejected)
		}
	})
}

// TestForgets: unused places go, used ones stay, and there are never more than Most.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(Options{Idle: 10 * time.Minute, Most: 100})
		at := func(i int) netip.AddrPort {
			return netip.MustParseAddrPort(fmt.Sprintf("10.0.%d.%d:80", i/250, i%250))
		}
		for i := range 1000 { // a scan
			if err := s.t.Address(at(i)); err != nil {
				t.Fatal(err)
			}
			if err := s.t.Address(place1); err != nil { // in use all the time
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if _, _, n := s.t.Stats(); n != 100 || len(s.names) != 101 {
			t.Errorf("%d places, %d subscriptions", n, len(s.names))
		}
		if !slices.Contains(s.names, "addr/"+place1.String()) {
			t.Error("a place in use was forgotten")
		}
		time.Sleep(20 * time.Minute)
		if err := s.t.Address(place1); err != nil {
			t.Fatal(err)
		}
		if err := s.t.Address(at(5000)); err != nil {
			t.Fatal(err)
		}
		if _, _, n := s.t.Stats(); n != 2 {
			t.Errorf("%d places after a long pause", n)
		}
	})
}

func BenchmarkKnown(b *testing.B) {
	s := &server{delay: -1}
	s.t = New(Options{Subscribe: s.subscribe, Unsubscribe: s.unsubscribe})
	s.t.Update([]client.Resource{{Name: wire.DemandReady}}, map[string]error{})
	s.t.ask(wire.Question{Addr: place1.Addr(), Port: 80}, time.Now())
	s.t.Update([]client.Resource{{Name: "addr/" + place1.String()}}, map[string]error{})
	b.ReportAllocs()
	for b.Loop() {
		if err := s.t.Address(place1); err != nil {
			b.Fatal(err)
		}
	}
}
