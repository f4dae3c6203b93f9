package http1_test

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// The language of the corpus. Bytes stand for themselves, ends of lines in the file
// for nothing; \r \n \t \\ and \x00 are escapes, and \{1000 abc} is abc a thousand
// times. A line that begins with @ does something:
//
//	@quiet    waits until nothing moves any more
//	@request  (endpoints) waits for bytes, then as @quiet
//	@wait 5s  waits
//	@fin      closes the direction of the one who writes
//	@close    closes the connection
//	@reset    breaks it
//	@connection (endpoints) what follows is for the next connection
//
// In transcripts @fin says that the other side closed its direction, @reset that the
// connection broke, @connection begins another connection, and @nothing stands for no
// byte at all.

// step is bytes, or one thing to do.
type step struct {
	do    string // "" for bytes
	bytes string
	d     time.Duration
}

func parseScript(t testing.TB, text string) (steps []step) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if do, ok := strings.CutPrefix(line, "@"); ok {
			word, arg, _ := strings.Cut(do, " ")
			s := step{do: word}
			if arg != "" {
				var err error
				if s.d, err = time.ParseDuration(arg); err != nil {
					t.Fatal(err)
				}
			}
			steps = append(steps, s)
			continue
		}
		b, err := unescape(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if n := len(steps); n > 0 && steps[n-1].do == "" {
			steps[n-1].bytes += b
		} else {
			steps = append(steps, step{bytes: b})
		}
	}
	return steps
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for len(s) > 0 {
		at := strings.IndexByte(s, '\\')
		if at < 0 {
			at = len(s)
		}
		b.WriteString(s[:at])
		if s = s[at:]; s == "" {
			break
		}
		switch {
		case strings.HasPrefix(s, `\{`):
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return "", fmt.Errorf("repetition without end")
			}
			count, what, ok := strings.Cut(s[2:end], " ")
			n, err := strconv.Atoi(count)
			if err != nil || !ok {
				return "", fmt.Errorf("repetition %q", s[:end+1])
			}
			if what, err = unescape(what); err != nil {
				return "", err
			}
			b.WriteString(strings.Repeat(what, n))
			s = s[end+1:]
		case strings.HasPrefix(s, `\x`) && len(s) >= 4:
			n, err := strconv.ParseUint(s[2:4], 16, 8)
			if err != nil {
				return "", err
			}
			b.WriteByte(byte(n))
			s = s[4:]
		default:
			i := strings.IndexByte(`rnt\`, (s + "?")[1])
			if i < 0 {
				return "", fmt.Errorf("escape %.2q", s)
			}
			b.WriteByte("\r\n\t\\"[i])
			s = s[2:]
		}
	}
	return b.String(), nil
}

// escape is the inverse of unescape, with a line's end behind every LF.
func escape(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		c := p[i]
		if n, line := repeated(p[i:]); n > 10 && (i == 0 || p[i-1] == '\n') {
			inner := strings.TrimSuffix(escape(line), "\n")
			fmt.Fprintf(&b, "\\{%d %s}\n", n, inner)
			i += n*len(line) - 1
			continue
		}
		run := 1
		for i+run < len(p) && p[i+run] == c {
			run++
		}
		if run > 40 && c != '}' && c > ' ' && c < 0x7f && c != '\\' {
			fmt.Fprintf(&b, `\{%d %c}`, run, c)
			i += run - 1
			continue
		}
		switch {
		case c == '\n':
			b.WriteString("\\n\n")
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\\':
			b.WriteString(`\\`)
		case c < ' ' || c >= 0x7f || c == '@' && (b.Len() == 0 || p[max(0, i-1)] == '\n'):
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	if s := b.String(); s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return b.String() + "\n"
}

// repeated tells how often the first line comes in a row, for lines that can be
// written as a repetition.
func repeated(p string) (n int, line string) {
	end := strings.IndexByte(p, '\n')
	if end < 0 || strings.ContainsAny(p[:end], "}\\") {
		return 1, ""
	}
	line = p[:end+1]
	for strings.HasPrefix(p, line) {
		n++
		p = p[len(line):]
	}
	return n, line
}

// party is one end of a connection that a script drives. What it reads is kept.
type party struct {
	end  *pipe.End
	rest time.Duration // silence of so long is quiet

	mu   sync.Mutex
	cond sync.Cond
	read strings.Builder // guarded by mu
	err  error           // guarded by mu: why there is no more
	used int             // guarded by mu: bytes that a @request has waited for
}

// newParty makes the client's end, or one of the endpoint, which is sooner content
// with silence: so it always comes first.
func newParty(end *pipe.End, rest time.Duration, run func(func())) *party {
	p := &party{end: end, rest: rest}
	p.cond.L = &p.mu
	run(p.collect)
	return p
}

func (p *party) collect() {
	b := make([]byte, 16<<10)
	for {
		n, err := p.end.Read(b)
		p.mu.Lock()
		p.read.Write(b[:n])
		p.err = err
		p.cond.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *party) state() (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read.Len(), p.err
}

// quiet returns when no byte moves any more: virtual time passes only then.
func (p *party) quiet() {
	for before := -1; ; {
		n, _ := p.state()
		if n == before {
			return
		}
		before = n
		time.Sleep(p.rest)
	}
}

// request waits for new bytes, and reports whether they came.
func (p *party) request() bool {
	p.mu.Lock()
	for p.read.Len() == p.used && p.err == nil {
		p.cond.Wait()
	}
	came := p.read.Len() > p.used
	p.mu.Unlock()
	p.quiet()
	p.mu.Lock()
	p.used = p.read.Len()
	p.mu.Unlock()
	return came
}

// play does the steps and reports whether the connection is still there.
func (p *party) play(t testing.TB, steps []step) bool {
	for _, s := range steps {
		var err error
		switch s.do {
		case "":
			// The proxy may have closed: the transcript says so.
			if _, err := io.WriteString(p.end, s.bytes); err != nil {
				p.quiet()
				return false
			}
		case "quiet":
			p.quiet()
		case "request":
			p.request()
		case "wait":
			time.Sleep(s.d)
		case "fin":
			err = p.end.CloseWrite()
		case "close":
			return p.end.Close() != nil
		case "reset":
			p.end.Reset()
			return false
		default:
			t.Errorf("@%s is not known", s.do)
		}
		if err != nil {
			return false
		}
	}
	return true
}

// transcript is what was read, and how it ended.
func (p *party) transcript() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := escape(p.read.String())
	switch {
	case p.err == nil:
	case p.err == io.EOF:
		s += "@fin\n"
	case strings.Contains(p.err.Error(), "reset"):
		s += "@reset\n"
	default:
		s += "@closed\n"
	}
	return s
}
