package behave

import (
	"fmt"
	"math"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"
)

// totals are expectations on all results of a statement together.
var totals = map[string]func(r *run, results []*result, args string) string{
	"split": expectSplit, "count": expectCount, "also": expectAlso, "attempts": expectAttempts, "spread": expectSpread, "saw": expectSaw,
}

// tally counts the results by the workload that answered.
func tally(results []*result) map[string]int {
	n := map[string]int{}
	for _, x := range results {
		n[x.from()]++
	}
	return n
}

func tallyText(n map[string]int) string {
	var list []string
	for k, v := range n {
		list = append(list, fmt.Sprintf("%q: %d", k, v))
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}

// expectSplit reads PATTERN PERCENT ... within POINTS. Workloads that it does not
// name must not answer.
func expectSplit(_ *run, results []*result, args string) string {
	f := strings.Fields(args)
	if len(f) < 4 || len(f)%2 != 0 || f[len(f)-2] != "within" {
		return "want split PATTERN PERCENT ... within POINTS"
	}
	within, err := strconv.ParseFloat(f[len(f)-1], 64)
	if err != nil {
		return err.Error()
	}
	got, rest := tally(results), len(results)
	for i := 0; i < len(f)-2; i += 2 {
		want, err := strconv.ParseFloat(f[i+1], 64)
		if err != nil {
			return err.Error()
		}
		n := 0
		for name, k := range got {
			if ok, _ := path.Match(f[i], name); ok {
				n += k
			}
		}
		rest -= n
		share := 100 * float64(n) / float64(len(results))
		if math.Abs(share-want) > within || want == 0 && n > 0 {
			return fmt.Sprintf("%s answered %.1f %%, want %g ± %g (%s)", f[i], share, want, within, tallyText(got))
		}
	}
	if rest != 0 {
		return "others answered too: " + tallyText(got)
	}
	return ""
}

// compare reads "= N", ">= N" or "<= N".
func compare(got int, f []string) (ok bool, err error) {
	if len(f) != 2 {
		return false, fmt.Errorf("want =|>=|<= NUMBER")
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return false, err
	}
	switch f[0] {
	case "=":
		return got == n, nil
	case ">=":
		return got >= n, nil
	case "<=":
		return got <= n, nil
	}
	return false, fmt.Errorf("%q is no comparison", f[0])
}

// expectCount reads status|from|flags|error|grpc VALUE =|>=|<= N.
func expectCount(r *run, results []*result, args string) string {
	f := strings.Fields(args)
	if len(f) != 4 {
		return "want count status|from|flags|error|grpc|header VALUE =|>=|<= NUMBER"
	}
	n, seen := 0, map[string]int{}
	for _, x := range results {
		var got string
		switch f[0] {
		case "status":
			got = strconv.Itoa(x.status)
		case "from":
			got = x.from()
		case "grpc":
			got, _ = grpcStatus(x)
		case "error":
			got = fmt.Sprint(x.err != nil)
		case "header":
			if len(values(x.header, f[1])) > 0 {
				got = f[1]
			}
		case "flags":
			if tokens := logTokens.FindAllString(r.logLine(x.agent, 3*time.Second), -1); len(tokens) > 3 {
				got = tokens[3]
			}
		}
		seen[got]++
		if ok, _ := path.Match(f[1], got); ok {
			n++
		}
	}
	ok, err := compare(n, f[2:])
	if err != nil {
		return err.Error()
	}
	if !ok {
		return fmt.Sprintf("%d results have %s %s, want %s (%s)", n, f[0], f[1], strings.Join(f[2:], " "), tallyText(seen))
	}
	return ""
}

// expectSpread reads =|>=|<= N: how many workloads answered.
func expectSpread(_ *run, results []*result, args string) string {
	got := tally(results)
	ok, err := compare(len(got), strings.Fields(args))
	if err != nil {
		return err.Error()
	}
	if !ok {
		return fmt.Sprintf("%d workloads answered, want %s (%s)", len(got), args, tallyText(got))
	}
	return ""
}

// all are the records of all results.
func (r *run) all(results []*result) (list []*record) {
	for _, x := range results {
		list = append(list, r.recordsOf(x)...)
	}
	return list
}

// expectAttempts reads =|>=|<= N: how many requests servers saw, mirrors included.
func expectAttempts(r *run, results []*result, args string) string {
	n := len(r.all(results))
	ok, err := compare(n, strings.Fields(args))
	if err != nil {
		return err.Error()
	}
	if !ok {
		return fmt.Sprintf("servers saw %d requests, want %s", n, args)
	}
	return ""
}

// settled is how long after the expected number no further request may come.
const settled = 60 * time.Millisecond

// waitFor waits until the workloads of a pattern saw a number of the results'
// requests, and a little longer for those that should not come. Answers do not count:
// it is for copies.
func (r *run) waitFor(results []*result, pattern string, enough func(n int) bool) (list []*record) {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		list = nil
		for _, rec := range r.all(results) {
			if ok, _ := path.Match(pattern, rec.Workload); ok {
				list = append(list, rec)
			}
		}
		if enough(len(list)) || time.Now().After(deadline) {
			return list
		}
	}
}

// expectAlso reads PATTERN =|>=|<= N: servers that saw the request, whoever answered.
func expectAlso(r *run, results []*result, args string) string {
	f := strings.Fields(args)
	if len(f) != 3 {
		return "want also PATTERN =|>=|<= NUMBER"
	}
	fits := func(n int) bool { ok, _ := compare(n, f[1:]); return ok }
	r.waitFor(results, f[0], fits)
	time.Sleep(settled)
	list := r.waitFor(results, f[0], func(int) bool { return true })
	if _, err := compare(0, f[1:]); err != nil {
		return err.Error()
	}
	if !fits(len(list)) {
		return fmt.Sprintf("%s saw %d requests, want %s", f[0], len(list), strings.Join(f[1:], " "))
	}
	return ""
}

// expectSaw reads PATTERN WHAT ...: as "seen", of every request that the workloads
// saw; at least one.
func expectSaw(r *run, results []*result, args string) string {
	pattern, what, _ := strings.Cut(args, " ")
	list := r.waitFor(results, pattern, func(n int) bool { return n > 0 })
	if len(list) == 0 {
		return pattern + " saw no request"
	}
	for _, rec := range list {
		msg := ""
		if name, ok := strings.CutPrefix(what, "no header "); ok {
			if v := values(rec.Headers, name); len(v) > 0 {
				msg = fmt.Sprintf("%s is %q, want none", name, v)
			}
		} else {
			msg = checkRecord(rec, what)
		}
		if msg != "" {
			return rec.Workload + ": " + msg
		}
	}
	return ""
}
