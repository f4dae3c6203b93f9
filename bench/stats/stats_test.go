package stats

import (
	"math"
	"testing"
	"time"
)

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		in             []float64
		median, spread float64
	}{
		{nil, 0, 0}, {[]float64{3}, 3, 0}, {[]float64{9, 1, 5}, 5, 1.6}, {[]float64{4, 2}, 3, 2.0 / 3},
	} {
		if m, s := Median(c.in), Spread(c.in); m != c.median || math.Abs(s-c.spread) > 1e-9 {
			t.Errorf("%v: median %v, spread %v; want %v, %v", c.in, m, s, c.median, c.spread)
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 129, 130, 1000, 1 << 20, 1<<20 + 1<<14, 1 << 40, math.MaxInt64} {
		b := bucket(v)
		if b < last {
			t.Errorf("%d falls into bucket %d, below the one of a smaller value", v, b)
		}
		last = b
		if lo, next := lowest(b), lowest(b+1); v < lo || v >= next || float64(next-lo) > float64(v)/63+1 {
			t.Errorf("%d falls into bucket %d, [%d, %d)", v, b, lo, next)
		}
	}
}

func TestHistogramQuantiles(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := 1; i <= 1000; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	h.Add(-time.Second)
	for q, want := range map[float64]time.Duration{0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		got := h.Quantile(q)
		if want *= time.Microsecond; math.Abs(float64(got-want)) > float64(want)*0.02 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if h.Count() != 1001 || h.Max() != time.Millisecond {
		t.Errorf("%d counted, longest %v", h.Count(), h.Max())
	}
}
