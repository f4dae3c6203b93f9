package telemetry

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// collector keeps what is written, each write taking a while.
type collector struct {
	takes time.Duration
	got   bytes.Buffer
	most  int
}

func (w *collector) Write(p []byte) (int, error) {
	time.Sleep(w.takes)
	w.most = max(w.most, len(p))
	return w.got.Write(p)
}

// TestSinkKeepsOrder: the lines of a connection stay in order, whatever others do,
// and every line is written or counted as dropped.
func TestSinkKeepsOrder(t *testing.T) {
	w := &collector{takes: time.Millisecond}
	s := newSink(w, nil, silent)
	const writers, each = 37, 2000
	var wg sync.WaitGroup
	for id := range uint64(writers) {
		wg.Go(func() {
			for i := range each {
				s.Append(id, fmt.Appendf(nil, "%d %d %0100d\n", id, i, 0))
			}
		})
	}
	wg.Wait()
	s.close()
	last := map[string]int{}
	lines := 0
	for line := range strings.Lines(w.got.String()) {
		f := strings.Fields(line)
		n, err := strconv.Atoi(f[1])
		if err != nil || len(f) != 3 || len(f[2]) != 100 {
			t.Fatalf("%q", line)
		}
		if before, ok := last[f[0]]; ok && n <= before {
			t.Fatalf("connection %s: %d after %d", f[0], n, before)
		}
		last[f[0]] = n
		lines++
	}
	if uint64(lines)+s.Dropped() != writers*each {
		t.Errorf("%d written and %d dropped of %d", lines, s.Dropped(), writers*each)
	}
	if w.most > maxPending || s.pending.Load() != 0 {
		t.Errorf("a batch of %d bytes; %d bytes left", w.most, s.pending.Load())
	}
}

// TestSinkWakes: lines are written though they come while a batch is being written,
// and a writer that is fast enough loses none, however many there are.
func TestSinkWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &collector{takes: 10 * time.Millisecond}
		s := newSink(w, nil, silent)
		line := []byte(strings.Repeat("x", 99) + "\n")
		sent := 0
		for range 200 { // 20 MB/s: more than a batch every 50 ms may hold
			for id := range uint64(2000) {
				s.Append(id, line)
				sent += len(line)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2*flushEvery + w.takes)
		synctest.Wait()
		if w.got.Len() != sent || s.Dropped() != 0 {
			t.Errorf("%d of %d bytes written, %d lines dropped", w.got.Len(), sent, s.Dropped())
		}
		time.Sleep(2 * keepFor)
		synctest.Wait()
		held := 0
		for i := range s.shards {
			held += cap(s.shards[i].buf) + cap(s.shards[i].spare)
		}
		if held > 0 {
			t.Errorf("%d bytes are held long after a burst", held)
		}
		s.close()
	})
}
