package history

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// clock is a test's time.
type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

func newStore(o Options) (*Store, *clock) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	o.Now = c.time
	return New(o), c
}

func labelsOf(name string) []wire.Label {
	return []wire.Label{{Name: "destination_workload", Value: name}}
}

// count adds to a counter and lets a step pass.
func (c *clock) count(s *Store, name string, cells ...wire.Cell) {
	s.Add(Key(labelsOf(name)), labelsOf(name), cells)
	c.pass(s, 1)
}

func (c *clock) pass(s *Store, steps int) {
	for range steps {
		c.now = c.now.Add(Step)
		s.Close()
	}
}

// TestBetween holds the log against plain sums, over random traffic with pauses.
func TestBetween(t *testing.T) {
	s, c := newStore(Options{Retention: time.Hour})
	r := rand.New(rand.NewPCG(1, 2))
	begin := c.now
	var sums []Values
	var now Values
	for range 600 { // 50 minutes
		var cells []wire.Cell
		for column := range columns {
			if r.IntN(10) == 0 {
				n := uint64(r.IntN(1 << r.IntN(30)))
				cells = append(cells, wire.Cell{Column: column, Delta: n})
				now[column] += n
			}
		}
		if r.IntN(3) == 0 {
			for _, x := range cells {
				now[x.Column] -= x.Delta
			}
			c.pass(s, 1)
		} else {
			c.count(s, "a", cells...)
		}
		sums = append(sums, now)
	}
	for range 200 {
		i := r.IntN(599)
		j := i + 1 + r.IntN(599-i)
		list, covered := s.Between(begin.Add(time.Duration(i+1)*Step), begin.Add(time.Duration(j+1)*Step))
		if covered != time.Duration(j-i)*Step {
			t.Fatalf("%d to %d covers %s", i, j, covered)
		}
		want := sums[j].Sub(&sums[i])
		if want == (Values{}) && len(list) == 0 {
			continue
		}
		if len(list) != 1 || list[0].Values != want {
			t.Fatalf("%d to %d: %v, want %v", i, j, list, want)
		}
	}
}

func TestReadBeginsAtZero(t *testing.T) {
	s, c := newStore(Options{})
	c.pass(s, 3)
	c.count(s, "a", wire.Cell{Column: 0, Delta: 7})
	c.pass(s, 2)
	var got []uint64
	s.Read(c.now.Add(-time.Minute), c.now, func([]wire.Label) bool { return true }, func(_ []wire.Label, final *Values, rows Rows) {
		for _, v := range rows {
			got = append(got, v[0])
		}
		if final[0] != 7 {
			t.Errorf("final %d", final[0])
		}
	})
	if fmt.Sprint(got) != "[0 7]" {
		t.Errorf("%v", got)
	}
}

// TestRetention: what is older goes, in time and in bytes, and what is new stays.
func TestRetention(t *testing.T) {
	s, c := newStore(Options{Retention: 10 * time.Minute})
	c.count(s, "gone", wire.Cell{Column: 0, Delta: 1})
	for range 300 {
		c.count(s, "busy", wire.Cell{Column: 0, Delta: 1})
	}
	if i := s.Info(); i.Sets != 1 {
		t.Errorf("%+v", i)
	}
	list, _ := s.Between(c.now.Add(-time.Minute), c.now)
	if len(list) != 1 || list[0].Values[0] != 12 {
		t.Errorf("%v", list)
	}
	c.pass(s, 400)
	if i := s.Info(); i.Sets != 0 || i.Bytes != 0 {
		t.Errorf("nothing has happened for long, and %+v is kept", i)
	}
}

func TestBytes(t *testing.T) {
	const bound = 2 << 20
	s, c := newStore(Options{Retention: 3 * time.Hour, Bytes: bound})
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		for i := range 100 {
			l := labelsOf(fmt.Sprint("w", i))
			s.Add(Key(l), l, []wire.Cell{{Column: 0, Delta: uint64(r.IntN(100))}, {Column: 1, Delta: uint64(r.IntN(1 << 20))}, {Column: 40, Delta: 5}})
		}
		c.pass(s, 1)
	}
	i := s.Info()
	if i.Bytes > bound || i.Sets != 100 {
		t.Errorf("%+v", i)
	}
	list, _ := s.Between(c.now.Add(-time.Minute), c.now)
	if len(list) != 100 {
		t.Errorf("%d sets have a last minute", len(list))
	}
	var total int64
	for _, x := range s.sets {
		total += setBytes + 2*int64(len(x.key))
		for _, b := range x.blocks {
			total += b.size()
		}
	}
	if total != i.Bytes {
		t.Errorf("the count of bytes is %d, they are %d", i.Bytes, total)
	}
}

func TestSets(t *testing.T) {
	s, c := newStore(Options{Sets: 10})
	for i := range 12 {
		l := labelsOf(fmt.Sprint(i))
		if got := s.Add(Key(l), l, []wire.Cell{{Column: 0, Delta: 1}}); got != (i < 10) {
			t.Errorf("the set %d: %v", i, got)
		}
	}
	c.pass(s, 1)
	if i := s.Info(); i.Sets != 10 || i.Refused != 2 {
		t.Errorf("%+v", i)
	}
}

// BenchmarkBusy tells what a step of a busy set takes: requests in several buckets of
// all three histograms.
func BenchmarkBusy(b *testing.B) {
	s, c := newStore(Options{Bytes: 1 << 40, Retention: 1000 * time.Hour})
	l := labelsOf("a")
	key := Key(l)
	b.ReportAllocs()
	for i := range b.N {
		s.Add(key, l, []wire.Cell{
			{Column: 0, Delta: 500}, {Column: 1, Delta: uint64(1_000_000 + i)}, {Column: 3, Delta: 120_000}, {Column: 33, Delta: 10}, {Column: 34, Delta: 300},
			{Column: 35, Delta: 180}, {Column: 36, Delta: 10}, {Column: 64, Delta: 500}, {Column: 104, Delta: 500},
		})
		c.pass(s, 1)
	}
	b.ReportMetric(float64(s.Info().Bytes)/float64(b.N), "B/step")
}
