package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// walker checks a document's tree against the types of one object and notes the
// lines of its fields.
type walker struct {
	*problems
	title  string
	lines  map[string]int
	failed int // mistakes found so far in this object
}

func (w *walker) fail(line int, path, msg string) {
	w.failed++
	w.add(w.title, line, path, msg)
}

// wrong reports a value of another type than expected. Words and numbers that
// were meant as text are the usual cause, and quotes the remedy.
func (w *walker) wrong(n *node, path, expected string) {
	msg := fmt.Sprintf("expected %s, found %s", expected, n.describe())
	if expected == "a string" {
		switch {
		case n.kind == boolNode && n.raw != "":
			msg += ", as YAML 1.1 and kubectl read that word; put it in quotes"
		case n.kind == boolNode || n.kind == numberNode:
			msg += "; put it in quotes"
		}
	} else if n.kind == stringNode {
		if _, ok := jsonNumber(n.text); ok && strings.Contains(expected, "number") || n.text == "true" || n.text == "false" {
			msg += "; write it without quotes"
		}
	}
	w.fail(n.line, path, msg)
}

// unknown reports a field that the types do not have.
func (w *walker) unknown(f field, path string, known []string) {
	if w.lenient {
		w.problems.unknown = append(w.problems.unknown, &DecodeError{File: w.file, Line: f.line, Object: w.title, Path: joinPath(path, f.key), Msg: "unknown field" + didYouMean(f.key, known)})
		return
	}
	w.fail(f.line, joinPath(path, f.key), "unknown field"+didYouMean(f.key, known))
}

// integer reads a whole number of the given size.
func (w *walker) integer(n *node, path string, bits int, signed bool) (int64, uint64, bool) {
	if n.kind != numberNode {
		w.wrong(n, path, "a whole number")
		return 0, 0, false
	}
	var err error
	var i int64
	var u uint64
	if signed {
		i, err = strconv.ParseInt(n.text, 10, bits)
	} else {
		u, err = strconv.ParseUint(n.text, 10, bits)
	}
	switch {
	case err == nil:
		return i, u, true
	case strings.ContainsAny(n.text, ".e"):
		w.fail(n.line, path, "expected a whole number, found "+n.written())
	case !signed && strings.HasPrefix(n.text, "-"):
		w.fail(n.line, path, fmt.Sprintf("the number %s must not be negative", n.written()))
	default:
		w.fail(n.line, path, fmt.Sprintf("the number %s is out of range", n.written()))
	}
	return 0, 0, false
}

func (w *walker) float(n *node, path string) (float64, bool) {
	if n.kind != numberNode {
		w.wrong(n, path, "a number")
		return 0, false
	}
	f, err := strconv.ParseFloat(n.text, 64)
	if err != nil {
		w.fail(n.line, path, fmt.Sprintf("the number %s is out of range", n.written()))
		return 0, false
	}
	return f, true
}

func (w *walker) str(n *node, path string) (string, bool) {
	if n.kind != stringNode {
		w.wrong(n, path, "a string")
		return "", false
	}
	return n.text, true
}

func (w *walker) boolean(n *node, path string) (value, ok bool) {
	if n.kind != boolNode {
		w.wrong(n, path, "true or false")
		return false, false
	}
	return n.text == "true", true
}

// duration reads the form of Istio's durations: "1h", "1m30s", "0.5s", "100ms".
func (w *walker) duration(n *node, path string) (time.Duration, bool) {
	if n.kind != stringNode {
		if n.kind == numberNode {
			w.fail(n.line, path, fmt.Sprintf(`the duration %s needs a unit, as in "%ss"`, n.written(), n.written()))
		} else {
			w.wrong(n, path, `a duration such as "5s"`)
		}
		return 0, false
	}
	d, err := time.ParseDuration(n.text)
	if err != nil {
		w.fail(n.line, path, fmt.Sprintf(`%q is not a duration; write it as "1h", "1m30s", "5s" or "100ms"`, shorten(n.text)))
		return 0, false
	}
	return d, true
}

// list and fields check the outer form; null stands for an absent value.
func (w *walker) list(n *node, path string) []*node {
	switch n.kind {
	case nullNode:
		return nil
	case listNode:
		return n.items
	}
	w.wrong(n, path, "a list")
	return nil
}

func (w *walker) fields(n *node, path, expected string) []field {
	switch n.kind {
	case nullNode:
		return nil
	case mapNode:
		return n.fields
	}
	w.wrong(n, path, expected)
	return nil
}
