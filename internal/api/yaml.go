package api

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document is one parsed document and what was wrong with it before its meaning
// was looked at.
type document struct {
	root *node // nil where the text could not be parsed
	errs []*DecodeError
}

// separator is a line that ends a document. YAML forbids such lines inside
// scalars, so that splitting before parsing is safe, and a syntax error in one
// document does not hide the others.
var separator = regexp.MustCompile(`(?m)^(---|\.\.\.)([ \t\r]|$)`)

// parseYAML gives the documents of data; empty ones are left out.
func parseYAML(data []byte, file string) []document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if line, bad := badUTF8(data); bad {
		return []document{{errs: []*DecodeError{{File: file, Line: line, Msg: "the text is not UTF-8"}}}}
	}
	var docs []document
	start := 0
	cut := func(end int) {
		if chunk := data[start:end]; !blank(chunk) {
			docs = append(docs, parseChunk(chunk, file, bytes.Count(data[:start], []byte("\n"))))
		}
	}
	for _, at := range separator.FindAllIndex(data, -1) {
		cut(at[0])
		// The dashes stay out; what follows them on the line is content.
		start = at[0] + 3
	}
	cut(len(data))
	return slices.DeleteFunc(docs, func(d document) bool {
		return len(d.errs) == 0 && (d.root == nil || d.root.kind == nullNode)
	})
}

func badUTF8(data []byte) (line int, bad bool) {
	if utf8.Valid(data) {
		return 0, false
	}
	line = 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		data = data[n:]
	}
	return line, true
}

// blank reports whether chunk holds comments, directives and white space only.
func blank(chunk []byte) bool {
	for line := range bytes.Lines(chunk) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// A document may grow by its aliases to aliasGrowth times its written size, and
// to aliasFloor values in any case.
const (
	aliasGrowth = 10
	aliasFloor  = 10_000
	maxMerged   = 100_000 // entries that merge keys copy in one document
)

// parseChunk parses one document that starts after offset lines of the file.
func parseChunk(chunk []byte, file string, offset int) document {
	root, err := unmarshal(chunk)
	r := &yamlReader{file: file, offset: offset, done: map[*yaml.Node]*node{}, budget: maxMerged}
	if err != nil {
		line, msg := locate(chunk, err)
		r.fail(line, "", msg)
		return document{errs: r.errs}
	}
	if len(root.Content) == 0 {
		return document{}
	}
	n := r.convert(root.Content[0], "", 0)
	if limit := min(maxNodes, aliasGrowth*len(r.done)+aliasFloor); n.size > limit {
		r.fail(n.line-offset, "", fmt.Sprintf("the document's aliases repeat one another until it has more than %d values", limit))
		return document{errs: r.errs}
	}
	return document{root: n, errs: r.errs}
}

// unmarshal parses text; a panic of the YAML library is an error like others.
func unmarshal(text []byte) (root yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: the parser failed: %v", p)
		}
	}()
	err = yaml.Unmarshal(text, &root)
	return root, err
}

// largeChunk is the size in bytes from which a syntax error is not located
// exactly, which takes as many parses as the number of lines has binary digits.
const largeChunk = 1 << 20

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// locate gives the line of a syntax error and a sentence about it. The library
// names the line where the surrounding block began, often far above; the first
// prefix of lines that fails in the same way ends with the line in question.
func locate(chunk []byte, err error) (int, string) {
	lines := bytes.SplitAfter(chunk, []byte("\n"))
	message := func(err error) string {
		if err == nil {
			return ""
		}
		return yamlLine.ReplaceAllString(err.Error(), "")
	}
	want := message(err)
	if len(chunk) > largeChunk {
		line := 1 // the library names no line for the first one
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			if n, convErr := strconv.Atoi(m[1]); convErr == nil {
				line = n
			}
		}
		return min(line, len(lines)), "syntax error at or after this line: " + want
	}
	end := 0
	n := sort.Search(len(lines), func(i int) bool {
		end = 0
		for _, l := range lines[:i+1] {
			end += len(l)
		}
		_, err := unmarshal(chunk[:end])
		return message(err) == want
	})
	line := min(n+1, len(lines))
	if indent := leading(lines[line-1]); bytes.ContainsRune(indent, '\t') {
		return line, "a tab indents this line; YAML allows only spaces there"
	}
	return line, "syntax error: " + want
}

func leading(line []byte) []byte {
	return line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
}

// yamlReader turns the library's nodes into ours.
type yamlReader struct {
	file   string
	offset int
	done   map[*yaml.Node]*node // a nil value marks a node that is being converted
	budget int                  // entries that merge keys may still copy
	errs   []*DecodeError
}

func (r *yamlReader) fail(line int, path, msg string) {
	r.errs = append(r.errs, &DecodeError{File: r.file, Line: r.offset + line, Path: path, Msg: msg})
}

// convert never returns nil; what is wrong becomes null and an error.
func (r *yamlReader) convert(y *yaml.Node, path string, depth int) *node {
	if y.Kind == yaml.AliasNode {
		if n, seen := r.done[y.Alias]; seen && n == nil {
			r.fail(y.Line, path, "an alias refers to the value that it is part of")
			return &node{line: r.offset + y.Line, size: 1}
		}
		return r.convert(y.Alias, path, depth)
	}
	if n := r.done[y]; n != nil {
		return n
	}
	n := &node{line: r.offset + y.Line, size: 1}
	if depth > maxDepth {
		r.fail(y.Line, shorten(path), fmt.Sprintf("values are nested more than %d deep", maxDepth))
		return n
	}
	r.done[y] = nil
	switch y.Kind {
	case yaml.MappingNode:
		r.mapping(n, y, path, depth)
	case yaml.SequenceNode:
		n.kind = listNode
		r.checkTag(y, path, "!!seq")
		for i, c := range y.Content {
			item := r.convert(c, indexPath(path, i), depth+1)
			n.items = append(n.items, item)
			n.grow(item)
		}
	default:
		r.scalar(n, y, path)
	}
	r.done[y] = n
	return n
}

func (r *yamlReader) checkTag(y *yaml.Node, path string, allowed ...string) bool {
	if y.Style&yaml.TaggedStyle == 0 || slices.Contains(allowed, y.ShortTag()) {
		return true
	}
	r.fail(y.Line, path, fmt.Sprintf("the tag %s is not supported", y.ShortTag()))
	return false
}

func (r *yamlReader) mapping(n *node, y *yaml.Node, path string, depth int) {
	n.kind = mapNode
	r.checkTag(y, path, "!!map")
	first := map[string]int{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" && k.Style&yaml.TaggedStyle == 0 {
			merges = append(merges, v)
			continue
		}
		key, ok := r.key(k, path)
		if !ok {
			continue
		}
		at := joinPath(path, key)
		if line, twice := first[key]; twice {
			r.fail(k.Line, at, fmt.Sprintf("duplicate key; it is set on line %d already", line))
			continue
		}
		first[key] = r.offset + k.Line
		value := r.convert(v, at, depth+1)
		n.fields = append(n.fields, field{key: key, line: r.offset + k.Line, value: value})
		n.grow(value)
	}
	for _, m := range merges {
		r.merge(n, m, first, path, depth)
	}
}

// merge copies the entries of a merge key's value ("<<: *defaults") that the map
// does not have itself.
func (r *yamlReader) merge(n *node, y *yaml.Node, have map[string]int, path string, depth int) {
	from := r.convert(y, joinPath(path, "<<"), depth+1)
	sources := []*node{from}
	if from.kind == listNode {
		sources = from.items
	}
	for _, s := range sources {
		if s.kind != mapNode {
			r.fail(y.Line, joinPath(path, "<<"), "a merge key needs a map or a list of maps, found "+s.describe())
			return
		}
		for _, f := range s.fields {
			if _, ok := have[f.key]; ok {
				continue
			}
			if r.budget--; r.budget < 0 {
				r.fail(y.Line, path, fmt.Sprintf("merge keys copy more than %d entries", maxMerged))
				return
			}
			have[f.key] = f.line
			n.fields = append(n.fields, f)
			n.grow(f.value)
		}
	}
}

// key gives a map's key as text. Numbers are common keys (portLevelMtls); the
// words that YAML 1.1 takes for booleans are refused, as kubectl would read
// another key than is written.
func (r *yamlReader) key(k *yaml.Node, path string) (string, bool) {
	if k.Kind == yaml.AliasNode {
		k = k.Alias
	}
	if k.Kind != yaml.ScalarNode {
		r.fail(k.Line, path, "a key must be a plain word, not a list or map")
		return "", false
	}
	var n node
	before := len(r.errs)
	r.scalar(&n, k, joinPath(path, k.Value))
	if len(r.errs) > before {
		return "", false
	}
	switch {
	case n.kind == nullNode:
		r.fail(k.Line, path, "a key is empty")
		return "", false
	case n.kind == boolNode && n.raw != "":
		r.fail(k.Line, joinPath(path, k.Value), fmt.Sprintf("YAML 1.1, which kubectl uses, reads the key %s as %s; put it in quotes", n.raw, n.text))
		return "", false
	}
	return n.text, true
}

func (r *yamlReader) scalar(n *node, y *yaml.Node, path string) {
	if !r.checkTag(y, path, "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp") {
		return
	}
	plain := y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
	switch y.ShortTag() {
	case "!!null":
		return
	case "!!bool":
		n.kind, n.text = boolNode, strings.ToLower(y.Value)
	case "!!int", "!!float":
		text, ok := jsonNumber(y.Value)
		if !ok {
			r.fail(y.Line, path, fmt.Sprintf("the number %s cannot be used here", y.Value))
			return
		}
		n.kind, n.text = numberNode, text
		if text != y.Value {
			n.raw = y.Value
		}
	default:
		n.kind, n.text = stringNode, y.Value
		if value, ok := yaml11Bool(y.Value); ok && plain {
			n.kind, n.text, n.raw = boolNode, value, y.Value
		}
	}
}

// yaml11Bool knows the words that YAML 1.1 takes for booleans beside true and
// false.
func yaml11Bool(s string) (string, bool) {
	switch s {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return "true", true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return "false", true
	}
	return "", false
}

// jsonNumber gives the JSON form of a YAML number: hexadecimal, octal and
// binary forms and underscores are resolved.
func jsonNumber(s string) (string, bool) {
	plain := strings.ReplaceAll(s, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return strconv.FormatInt(i, 10), true
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(plain, "+"), 0, 64); err == nil {
		return strconv.FormatUint(u, 10), true
	}
	f, err := strconv.ParseFloat(plain, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return "", false
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10), true
	}
	return strconv.FormatFloat(f, 'g', -1, 64), true
}
