package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// appendMillis writes "2006-01-02T15:04:05.000Z" for a time in UTC, several times
// as fast as time.AppendFormat: every line of an access log has one.
func appendMillis(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	hour, minute, second := t.Clock()
	two := func(n int, sep byte) { dst = append(dst, byte('0'+n/10), byte('0'+n%10), sep) }
	dst = append(dst, byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-')
	two(int(month), '-')
	two(day, 'T')
	two(hour, ':')
	two(minute, ':')
	two(second, '.')
	ms := t.Nanosecond() / 1e6
	return append(dst, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// startTime compiles START_TIME and START_TIME(strftime). Without an argument it
// is Envoy's default "2006-01-02T15:04:05.000Z"; times are UTC. Of strftime it
// knows what has a fixed meaning without a locale, and Envoy's %f (fraction), %Nf
// (its first N digits) and %s (seconds since 1970), %Ns (with N more digits).
func startTime(layout string) (op, error) {
	if layout == "" {
		return func(dst []byte, src *Source) ([]byte, bool) {
			t := src.Stream.Start
			if t.IsZero() {
				return dst, false
			}
			return appendMillis(dst, t.UTC()), true
		}, nil
	}
	steps, err := strftime(layout)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, src *Source) ([]byte, bool) {
		t := src.Stream.Start
		if t.IsZero() {
			return dst, false
		}
		t = t.UTC()
		for _, s := range steps {
			dst = s(dst, t)
		}
		return dst, true
	}, nil
}

type timeStep func(dst []byte, t time.Time) []byte

// layouts are the strftime letters that a Go layout expresses.
var layouts = map[byte]string{
	'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'j': "002", 'I': "03", 'p': "PM",
	'b': "Jan", 'h': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'e': "_2", 'z': "-0700", 'Z': "MST",
	'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06",
}

func strftime(layout string) ([]timeStep, error) {
	var steps []timeStep
	for rest := layout; rest != ""; {
		before, after, found := strings.Cut(rest, "%")
		if before != "" {
			steps = append(steps, func(dst []byte, _ time.Time) []byte { return append(dst, before...) })
		}
		if !found {
			break
		}
		digits := 0
		for digits < len(after) && '0' <= after[digits] && after[digits] <= '9' {
			digits++
		}
		if digits >= len(after) {
			return nil, fmt.Errorf("time format %q ends in %%", layout)
		}
		step, err := strftimeStep(after[:digits], after[digits])
		if err != nil {
			return nil, fmt.Errorf("time format %q: %w", layout, err)
		}
		steps = append(steps, step)
		rest = after[digits+1:]
	}
	return steps, nil
}

func strftimeStep(width string, letter byte) (timeStep, error) {
	n := 0
	if width != "" {
		var err error
		if n, err = strconv.Atoi(width); err != nil || n > 9 || n == 0 || (letter != 'f' && letter != 's') {
			return nil, fmt.Errorf("%%%s%c is not known", width, letter)
		}
	}
	switch letter {
	case '%':
		return func(dst []byte, _ time.Time) []byte { return append(dst, '%') }, nil
	case 'f':
		if n == 0 {
			n = 9
		}
		return func(dst []byte, t time.Time) []byte { return fraction(dst, t, n) }, nil
	case 's':
		return func(dst []byte, t time.Time) []byte {
			dst = strconv.AppendInt(dst, t.Unix(), 10)
			if n > 0 {
				dst = fraction(dst, t, n)
			}
			return dst
		}, nil
	}
	l, ok := layouts[letter]
	if !ok {
		return nil, fmt.Errorf("%%%c is not known", letter)
	}
	return func(dst []byte, t time.Time) []byte { return t.AppendFormat(dst, l) }, nil
}

// fraction appends the first n digits of the fraction of a second.
func fraction(dst []byte, t time.Time, n int) []byte {
	const width = 9
	var digits [width]byte
	v := t.Nanosecond()
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + v%10)
		v /= 10
	}
	return append(dst, digits[:n]...)
}
