package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// goStruct checks that n fits the Go struct type t by the rules of its json
// tags, exactly and not only in spelling without case as encoding/json does.
func (w *walker) goStruct(t reflect.Type, n *node, path string) {
	known := map[string]reflect.Type{}
	var names []string
	collect(t, known, &names)
	for _, f := range w.fields(n, path, "a map") {
		at := joinPath(path, f.key)
		w.lines[at] = f.line
		ft, ok := known[f.key]
		if !ok {
			w.unknown(f, path, names)
			continue
		}
		w.goValue(ft, f.value, at)
	}
}

// collect lists the JSON fields of t; those of embedded structs are its own.
func collect(t reflect.Type, into map[string]reflect.Type, names *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && (f.Anonymous || strings.Contains(options, "inline")):
			collect(f.Type, into, names)
		case name != "":
			into[name] = f.Type
			*names = append(*names, name)
		}
	}
}

func (w *walker) goValue(t reflect.Type, n *node, path string) {
	if n.kind == nullNode {
		return // encoding/json: null leaves the zero value
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		w.goLeaf(t, n, path)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		w.goStruct(t, n, path)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			w.base64(n, path)
			return
		}
		w.goList(t, n, path)
	case reflect.Map:
		for _, f := range w.fields(n, path, "a map") {
			at := keyPath(path, f.key)
			w.lines[at] = f.line
			w.goValue(t.Elem(), f.value, at)
		}
	case reflect.String:
		w.str(n, path)
	case reflect.Bool:
		w.boolean(n, path)
	case reflect.Int32, reflect.Int64, reflect.Int:
		w.integer(n, path, t.Bits(), true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		w.integer(n, path, t.Bits(), false)
	case reflect.Float64:
		w.float(n, path)
	default:
		w.fail(n.line, path, fmt.Sprintf("fields of type %s are not supported", t))
	}
}

func (w *walker) goList(t reflect.Type, n *node, path string) {
	for i, item := range w.list(n, path) {
		at := indexPath(path, i)
		w.lines[at] = item.line
		if item.kind == nullNode {
			w.fail(item.line, at, "a list has no empty entries")
			continue
		}
		w.goValue(t.Elem(), item, at)
	}
}

// goLeaf checks a value whose type reads JSON itself: quantities, times, and
// numbers that may be names.
func (w *walker) goLeaf(t reflect.Type, n *node, path string) {
	err := json.Unmarshal(n.json(), reflect.New(t).Interface())
	if err == nil {
		return
	}
	switch t.Name() {
	case "Quantity":
		w.fail(n.line, path, fmt.Sprintf(`expected a quantity such as "100m" or "64Mi", found %s`, n.describe()))
	case "IntOrString":
		w.fail(n.line, path, "expected a number or a name, found "+n.describe())
	case "Time", "MicroTime":
		w.fail(n.line, path, fmt.Sprintf(`expected a time such as "2006-01-02T15:04:05Z", found %s`, n.describe()))
	default:
		w.fail(n.line, path, fmt.Sprintf("expected a %s, found %s", t.Name(), n.describe()))
	}
}
