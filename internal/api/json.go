package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// parseJSON gives the documents of data, which is one JSON value or several in
// a row. ok is false where the text is not JSON.
func parseJSON(data []byte, file string) (docs []document, ok bool) {
	if line, bad := badUTF8(data); bad {
		return []document{{errs: []*DecodeError{{File: file, Line: line, Msg: "the text is not UTF-8"}}}}, true
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	r := &jsonReader{dec: dec, data: data, file: file, line: 1}
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return docs, true
		}
		if err != nil {
			return nil, false
		}
		r.errs = nil
		n, err := r.value(tok, "", 0)
		if errors.Is(err, errTooDeep) {
			return append(docs, document{errs: r.errs}), true
		}
		if err != nil {
			return nil, false
		}
		docs = append(docs, document{root: n, errs: r.errs})
	}
}

var errTooDeep = errors.New("nested too deep")

type jsonReader struct {
	dec    *json.Decoder
	data   []byte
	file   string
	offset int // bytes whose lines are counted
	line   int
	errs   []*DecodeError
}

// here is the line of the token that was read last.
func (r *jsonReader) here() int {
	to := int(r.dec.InputOffset())
	r.line += bytes.Count(r.data[r.offset:to], []byte("\n"))
	r.offset = to
	return r.line
}

func (r *jsonReader) fail(line int, path, msg string) {
	r.errs = append(r.errs, &DecodeError{File: r.file, Line: line, Path: path, Msg: msg})
}

func (r *jsonReader) value(tok json.Token, path string, depth int) (*node, error) {
	n := &node{line: r.here(), size: 1}
	if depth > maxDepth {
		r.fail(n.line, shorten(path), fmt.Sprintf("values are nested more than %d deep", maxDepth))
		return nil, errTooDeep
	}
	switch v := tok.(type) {
	case nil:
	case bool:
		n.kind, n.text = boolNode, fmt.Sprint(v)
	case string:
		n.kind, n.text = stringNode, v
	case json.Number:
		text, ok := jsonNumber(v.String())
		if !ok {
			r.fail(n.line, path, fmt.Sprintf("the number %s cannot be used here", v))
			return n, nil
		}
		n.kind, n.text = numberNode, text
	case json.Delim:
		if v == '[' {
			return n, r.list(n, path, depth)
		}
		return n, r.object(n, path, depth)
	}
	return n, nil
}

func (r *jsonReader) list(n *node, path string, depth int) error {
	n.kind = listNode
	for i := 0; ; i++ {
		tok, err := r.dec.Token()
		if err != nil {
			return err
		}
		if tok == json.Delim(']') {
			return nil
		}
		item, err := r.value(tok, indexPath(path, i), depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
		n.grow(item)
	}
}

func (r *jsonReader) object(n *node, path string, depth int) error {
	n.kind = mapNode
	first := map[string]int{}
	for {
		tok, err := r.dec.Token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		if !ok { // the closing brace; the decoder allows nothing else
			return nil
		}
		line, at := r.here(), joinPath(path, key)
		tok, err = r.dec.Token()
		if err != nil {
			return err
		}
		value, err := r.value(tok, at, depth+1)
		if err != nil {
			return err
		}
		if was, twice := first[key]; twice {
			r.fail(line, at, fmt.Sprintf("duplicate key; it is set on line %d already", was))
			continue
		}
		first[key] = line
		n.fields = append(n.fields, field{key: key, line: line, value: value})
		n.grow(value)
	}
}
