package format

import (
	"testing"
	"time"
)

func TestAppendMillis(t *testing.T) {
	times := []time.Time{{}, time.Unix(0, 0), time.Unix(253402300799, 999_999_999), time.Unix(253402300800, 0), time.Unix(-1, 999_000), time.Unix(951782400, 0)}
	for i := range int64(2000) {
		times = append(times, time.Unix(1_700_000_000+i*86_399, i*499_999))
	}
	for _, x := range times {
		x = x.UTC()
		if got, want := string(appendMillis([]byte("["), x)), "["+x.Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
