package api

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Limits on what one input may hold. They are far above any real configuration
// and keep hostile input from costing much.
const (
	maxInput = 16 << 20 // bytes of one input
	maxDepth = 100      // nesting of lists and maps
	maxNodes = 1 << 20  // values in one document after aliases are expanded
)

type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	stringNode
	listNode
	mapNode
)

// node is a value of a document, from YAML or JSON, with aliases and merge keys
// resolved. Aliased values are shared, never copied.
type node struct {
	kind nodeKind
	line int
	// text is a string's value, a number in JSON's form, "true" or "false".
	text string
	// raw is how a plain scalar was written where that differs from text, as
	// "on" for true; messages quote it.
	raw    string
	items  []*node
	fields []field
	size   int // number of values below and with this one, aliases expanded
}

// field is an entry of a map.
type field struct {
	key   string
	line  int
	value *node
}

// get returns the value of key, or nil.
func (n *node) get(key string) *node {
	for i := range n.fields {
		if n.fields[i].key == key {
			return n.fields[i].value
		}
	}
	return nil
}

// describe says in a few words what n is: `the number 5`, `a list`.
func (n *node) describe() string {
	switch n.kind {
	case nullNode:
		return "null"
	case boolNode:
		return "the boolean " + n.written()
	case numberNode:
		return "the number " + n.written()
	case stringNode:
		return "the string " + strconv.Quote(shorten(n.text))
	case listNode:
		return "a list"
	default:
		return "a map"
	}
}

func (n *node) written() string {
	if n.raw != "" {
		return n.raw
	}
	return n.text
}

func shorten(s string) string {
	const limit = 60
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}

// appendJSON writes n as JSON.
func (n *node) appendJSON(b *bytes.Buffer) {
	switch n.kind {
	case nullNode:
		b.WriteString("null")
	case boolNode, numberNode:
		b.WriteString(n.text)
	case stringNode:
		writeJSONString(b, n.text)
	case listNode:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.appendJSON(b)
		}
		b.WriteByte(']')
	case mapNode:
		b.WriteByte('{')
		for i := range n.fields {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSONString(b, n.fields[i].key)
			b.WriteByte(':')
			n.fields[i].value.appendJSON(b)
		}
		b.WriteByte('}')
	}
}

func (n *node) json() []byte {
	var b bytes.Buffer
	n.appendJSON(&b)
	return b.Bytes()
}

func writeJSONString(b *bytes.Buffer, s string) {
	enc, _ := json.Marshal(s) // a string always marshals
	b.Write(enc)
}

// grow adds the sizes of children, saturating above maxNodes.
func (n *node) grow(child *node) { n.size = min(n.size+child.size, maxNodes+1) }

// joinPath appends a field name to a path.
func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// keyPath appends a map's free key to a path: `spec.selector[app]`.
func keyPath(path, key string) string { return path + "[" + key + "]" }

func indexPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
