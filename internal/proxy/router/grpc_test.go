package router

import (
	"math"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

func TestGRPCTimeoutField(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"1S": time.Second, "250m": 250 * time.Millisecond, "00000003H": 3 * time.Hour, "2M": 2 * time.Minute, "7u": 7 * time.Microsecond, "9n": 9,
		"99999999H": math.MaxInt64, "0S": 0,
		"": -1, "S": -1, "1": -1, "123456789S": -1, "-1S": -1, "1s": -1, "+1S": -1, "1 S": -1,
	} {
		if got, ok := parseGRPCTimeout([]byte(in)); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v", in, got, ok)
		}
	}
	for in, want := range map[time.Duration]string{
		time.Second: "1000m", 1500 * time.Microsecond: "1m", 99_999_999 * time.Millisecond: "99999999m",
		100_000_000 * time.Millisecond: "100000S", math.MaxInt64: "2562047H",
	} {
		if got := string(appendGRPCTimeout(nil, in)); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
}

func TestDeadline(t *testing.T) {
	for _, c := range []struct{ d, max, offset, want time.Duration }{
		{0, 0, 0, 0}, {5, 0, 0, 5}, {5, 3, 0, 3}, {2, 3, 0, 2}, {0, 3, 0, 3}, {5, 0, 2, 3}, {5, 0, 5, 5}, {5, 0, 9, 5}, {5, 2, 2, 2},
	} {
		if got := deadline(&config.GRPCDeadline{On: true, Max: c.max, Offset: c.offset}, c.d); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
