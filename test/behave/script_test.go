package behave

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// statement is an unindented line of a script with the indented ones below it.
type statement struct {
	file  string
	line  int
	plane string // "" for both
	verb  string
	args  string
	lines []line
}

// line is an indented one: an option of the statement, or an expectation.
type line struct {
	line  int
	plane string
	verb  string
	args  string
}

func (s *statement) String() string {
	return fmt.Sprintf("%s:%d: %s %s", s.file, s.line, s.verb, s.args)
}

// marked takes "[ours] " or "[envoy] " off a line.
func marked(text string) (plane, rest string) {
	for _, p := range []string{ours, envoy} {
		if rest, ok := strings.CutPrefix(text, "["+p+"]"); ok {
			return p, strings.TrimSpace(rest)
		}
	}
	return "", text
}

// parseScript reads a script; start is the line of the file before its first one.
func parseScript(text, file string, start int) ([]*statement, error) {
	var list []*statement
	for i, raw := range strings.Split(text, "\n") {
		n := start + i + 1
		trimmed := strings.TrimSpace(raw)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		plane, rest := marked(trimmed)
		verb, args, _ := strings.Cut(rest, " ")
		args = strings.TrimSpace(args)
		if raw[0] == ' ' || raw[0] == '\t' {
			if len(list) == 0 {
				return nil, fmt.Errorf("%s:%d: an indented line before the first statement", file, n)
			}
			s := list[len(list)-1]
			s.lines = append(s.lines, line{line: n, plane: plane, verb: verb, args: args})
			continue
		}
		list = append(list, &statement{file: file, line: n, plane: plane, verb: verb, args: args})
	}
	return list, nil
}

// run is a case on one data plane.
type run struct {
	t    *testing.T
	c    *testCase
	bed  *bed
	cell *cell
	name string // of the data plane
	// objects are those in force, by file of the case that they came from.
	applied map[string]bool
	conns   map[string]*h1Conn // by the name that the script gives them
	agents  int                // numbers the requests
	mark    int                // of the world's records: where the statement began
}

// fail ends the case with what a statement saw.
func (r *run) fail(s *statement, format string, args ...any) {
	r.t.Helper()
	text := fmt.Sprintf(format, args...)
	r.t.Fatalf("%s\n    %s\n  configuration of the proxy: %s", s, strings.ReplaceAll(text, "\n", "\n    "), r.cell.dump(r))
}

// do runs a statement.
func (r *run) do(s *statement) {
	if s.plane != "" && s.plane != r.name {
		return
	}
	r.mark = r.bed.world.mark()
	verb, ok := verbs[s.verb]
	if !ok {
		if s.verb != strings.ToUpper(s.verb) {
			r.fail(s, "the script's language has no %q", s.verb)
		}
		verb = (*run).request
	}
	verb(r, s)
}

// verbs are the statements besides requests, whose verb is their method.
var verbs map[string]func(*run, *statement)

func init() { // not a composite literal: the functions refer to it
	verbs = map[string]func(*run, *statement){
		"apply": (*run).apply, "delete": (*run).remove, "workload": (*run).workload, "backend": (*run).backend,
		"verdict": (*run).verdict, "sleep": (*run).sleep, "tcp": (*run).tcp, "grpc": (*run).grpc,
	}
}

func (r *run) sleep(s *statement) {
	d, err := time.ParseDuration(s.args)
	if err != nil {
		r.fail(s, "%v", err)
	}
	time.Sleep(d)
}

// mine are the lines that hold for this data plane.
func (r *run) mine(s *statement) []line {
	var list []line
	for _, l := range s.lines {
		if l.plane == "" || l.plane == r.name {
			list = append(list, l)
		}
	}
	return list
}

// wanted is an expectation on a header: a value, a pattern or absence.
type wanted struct {
	name, value string
	pattern     *regexp.Regexp
}

// parseWanted reads "NAME: VALUE" or "NAME ~ PATTERN".
func parseWanted(text string) (w wanted, err error) {
	colon, tilde := strings.Index(text, ": "), strings.Index(text, " ~ ")
	switch {
	case strings.HasSuffix(text, ":") && colon < 0:
		w.name = strings.TrimSuffix(text, ":")
	case tilde >= 0 && (colon < 0 || tilde < colon):
		w.name = text[:tilde]
		w.pattern, err = regexp.Compile(text[tilde+3:])
	case colon > 0:
		w.name, w.value = text[:colon], text[colon+2:]
	default:
		err = fmt.Errorf("%q: want NAME: VALUE or NAME ~ PATTERN", text)
	}
	return w, err
}

// check compares with what there is, the values of one name joined.
func (w *wanted) check(values []string) string {
	got := strings.Join(values, ",")
	switch {
	case w.pattern != nil && !w.pattern.MatchString(got):
		return fmt.Sprintf("%s is %q, want a match of %s", w.name, values, w.pattern)
	case w.pattern == nil && (len(values) == 0 || got != w.value):
		return fmt.Sprintf("%s is %q, want %q", w.name, values, w.value)
	}
	return ""
}

// text reads a quoted or plain argument.
func text(arg string) string {
	if u, err := strconv.Unquote(arg); err == nil {
		return u
	}
	return arg
}
