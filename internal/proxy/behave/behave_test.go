package behave

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/faults.txt anew")

const golden = "testdata/faults.txt"

// concurrent rows are under way at once; each has an origin of its own.
const concurrent = 24

// looks is how often a row is played until it comes out as the table says: its
// time-outs are short, and the machine may be busy.
const looks = 3

// play runs all rows through a proxy. A POST that arrived more often than it should
// gets no second look.
func (s *subject) play(t *testing.T, table map[string]string) map[string]outcome {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]outcome{}
	slots := make(chan struct{}, concurrent)
	for _, r := range s.rows {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var o outcome
			for n := range looks {
				var err error
				if o, err = r.run(s); err != nil {
					t.Errorf("%s: %s: %v", s.name, r.title(), err)
				}
				if *update || o.line(s.name) == want(table, r.title(), s.name) || r.post && o.seen > 1 {
					break
				}
				t.Logf("%s: %s, look %d: %s", s.name, r.title(), n+1, o.line(s.name))
				r.origin.forget()
			}
			mu.Lock()
			out[r.id] = o
			mu.Unlock()
		})
	}
	wg.Wait()
	return out
}

// TestFaults plays every fault through our proxy and through Envoy, and compares
// what came of it with the table. Where the two do not do the same, the scenario
// says why; a reason without a difference is an error too.
func TestFaults(t *testing.T) {
	table := readTable(t)
	ours := newSubject(t, "lateen")
	startOurs(t, ours)
	outcomes := map[string]map[string]outcome{"lateen": ours.play(t, table)}
	path, err := envoy()
	if err != nil {
		t.Logf("only our proxy is tested: %v", err)
	} else {
		theirs := newSubject(t, "envoy")
		startEnvoy(t, theirs, path)
		outcomes["envoy"] = theirs.play(t, table)
	}
	var b strings.Builder
	for _, r := range ours.rows {
		us := outcomes["lateen"][r.id]
		title, line := r.title(), us.line("lateen")
		fmt.Fprintf(&b, "%s\n  lateen  %s\n", title, line)
		compare(t, table, title, "lateen", line)
		them, ok := outcomes["envoy"][r.id]
		if !ok {
			continue
		}
		why := r.differs[""] + r.differs[r.combo]
		switch {
		case us.String() == them.String() && why != "":
			t.Errorf("%s: no difference, but a reason for one: %s", title, why)
		case us.String() != them.String() && why == "":
			t.Errorf("%s: no reason is given for the difference\n  lateen %s\n  envoy  %s", title, us, them)
			fallthrough
		case us.String() != them.String():
			fmt.Fprintf(&b, "  envoy   %s\n  why     %s\n", them, why)
			compare(t, table, title, "envoy", them.String())
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readTable reads the table: outcomes by title and proxy.
func readTable(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	out := map[string]string{}
	title := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		rest, ok := strings.CutPrefix(line, "  ")
		if !ok {
			title = line
			continue
		}
		who, what, _ := strings.Cut(rest, " ")
		out[title+"/"+who] = strings.TrimSpace(what)
	}
	return out
}

// want gives what the table says; it has no line of Envoy's where that does the same.
func want(table map[string]string, title, who string) string {
	if line, ok := table[title+"/"+who]; ok {
		return line
	}
	line := table[title+"/lateen"]
	if i := strings.LastIndex(line, " | "); i >= 0 && !strings.HasPrefix(line[i:], " | seen") {
		line = line[:i] // our reason
	}
	return line
}

func compare(t *testing.T, table map[string]string, title, who, got string) {
	t.Helper()
	if want := table[title+"/"+who]; got != want && !*update {
		t.Errorf("%s: %s\n  got  %s\n  want %s", title, who, got, want)
	}
}

// notActedOn are the scenarios in which the server itself says that it did not act on the
// request.
var notActedOn = map[string]bool{"stream refused POST retried": true, "GOAWAY, not taken": true, "GOAWAY, not taken, retried": true}

// TestPostsOnce: whatever breaks, a POST reaches the server once, but where it is
// proven that the server did not act on it.
func TestPostsOnce(t *testing.T) {
	table := readTable(t)
	n := 0
	for _, sc := range scenarios {
		if !sc.post || notActedOn[sc.name] {
			continue
		}
		for _, combo := range sc.combos {
			line := table[sc.name+" "+combo+"/lateen"]
			n++
			if !strings.Contains(line, "seen 1") && !strings.Contains(line, "seen 0") {
				t.Errorf("%s %s: %s", sc.name, combo, line)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d rows with POST", n)
	}
}
