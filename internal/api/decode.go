package api

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// DefaultNamespace is where namespaced documents without a namespace go.
const DefaultNamespace = "default"

// Decode reads all objects of a YAML or JSON input; file names the input in
// errors. Several documents, lists (kind List) and empty documents are allowed.
//
// Decoding is strict: an unknown field, a value of the wrong type, an unknown
// enum value, a malformed duration, quantity or base64 text and a duplicate key
// are errors. All mistakes are reported: the error joins a *DecodeError for
// each, in the order of lines; DecodeErrors lists them. With an error, the
// objects that decoded well are returned as well.
//
// YAML is read as kubectl reads it (YAML 1.1: a plain on, yes or y is a
// boolean). Defaults that Kubernetes would fill in are filled in (see Default).
func Decode(r io.Reader, file string) ([]*Object, error) {
	return DecodeIn(r, file, DefaultNamespace)
}

// DecodeIn is Decode with another namespace for namespaced documents that name
// none.
func DecodeIn(r io.Reader, file, namespace string) ([]*Object, error) {
	d := &decoder{problems: problems{file: file}, namespace: namespace}
	if err := d.read(r); err != nil {
		return nil, err
	}
	return d.objects, d.err()
}

// read decodes all documents of r.
func (d *decoder) read(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", d.file, err)
	}
	if len(data) > maxInput {
		d.add("", 0, "", fmt.Sprintf("the input is larger than %d MiB", maxInput>>20))
		return d.err()
	}
	for _, doc := range parse(data, d.file) {
		d.document(doc)
	}
	return nil
}

// parse gives the documents of data. What looks like JSON and is not is parsed
// as YAML, which has flow maps and lists as well.
func parse(data []byte, file string) []document {
	if t := bytes.TrimLeft(data, " \t\r\n"); len(t) > 0 && (t[0] == '{' || t[0] == '[') {
		if docs, ok := parseJSON(data, file); ok {
			return docs
		}
	}
	return parseYAML(data, file)
}

// decoder turns documents into objects.
type decoder struct {
	problems
	namespace string
	objects   []*Object
	// mixed puts documents of kinds that the mesh does not read among others.
	mixed  bool
	others []Other
}

// document decodes one document, an object or a list of objects. Errors of the
// parser get the name of the object, which is known only now.
func (d *decoder) document(doc document) {
	if len(doc.errs) > 0 {
		for _, e := range doc.errs {
			if doc.root != nil {
				e.Object = d.title(doc.root)
			}
			d.list = append(d.list, e)
		}
		if doc.root == nil {
			return
		}
		// The rest of the document is looked at for more mistakes, but what
		// comes of it is not used.
		before := len(d.objects)
		d.value(doc.root, "", "")
		d.objects = d.objects[:before]
		return
	}
	d.value(doc.root, "", "")
}

// value decodes an object or a list. apiVersion and kind are those that a typed
// list (ServiceList) lends to its items.
func (d *decoder) value(n *node, apiVersion, kind string) {
	if n.kind != mapNode {
		d.add("", n.line, "", "expected an object with apiVersion and kind, found "+n.describe())
		return
	}
	apiVersion, ok1 := d.header(n, "apiVersion", apiVersion)
	kind, ok2 := d.header(n, "kind", kind)
	if !ok1 || !ok2 {
		return
	}
	if items := n.get("items"); items != nil && strings.HasSuffix(kind, "List") {
		d.items(n, items, apiVersion, strings.TrimSuffix(kind, "List"))
		return
	}
	k, err := findKind(apiVersion, kind)
	if err != nil {
		if !d.foreign(n, apiVersion, kind) {
			d.add(d.title(n), n.line, "", err.Error())
		}
		return
	}
	if o := d.object(n, k); o != nil {
		d.objects = append(d.objects, o)
	}
}

// header reads a required text field of a document's top level.
func (d *decoder) header(n *node, name, lent string) (string, bool) {
	v := n.get(name)
	switch {
	case v == nil && lent != "":
		return lent, true
	case v == nil:
		var keys []string
		for _, f := range n.fields {
			keys = append(keys, f.key)
		}
		msg := name + " is missing"
		if hint := nearest(name, keys); hint != "" {
			msg += fmt.Sprintf("; is %q a misspelling of it?", hint)
		}
		d.add(d.title(n), n.line, "", msg)
		return "", false
	case v.kind != stringNode || v.text == "":
		d.add(d.title(n), v.line, name, "expected a string, found "+v.describe())
		return "", false
	}
	return v.text, true
}

func (d *decoder) items(n, items *node, apiVersion, kind string) {
	for _, f := range n.fields {
		switch f.key {
		case "apiVersion", "kind", "metadata", "items":
		default:
			d.add(kind+"List", f.line, f.key, "unknown field"+didYouMean(f.key, []string{"apiVersion", "kind", "metadata", "items"}))
		}
	}
	if items.kind == nullNode {
		return
	}
	if items.kind != listNode {
		d.add(kind+"List", items.line, "items", "expected a list, found "+items.describe())
		return
	}
	if kind == "" {
		apiVersion = ""
	}
	for _, item := range items.items {
		d.value(item, apiVersion, kind)
	}
}

// title names the object in messages, as far as its header is readable.
func (d *decoder) title(n *node) string {
	text := func(n *node, name string) string {
		if n == nil || n.kind != mapNode {
			return ""
		}
		if v := n.get(name); v != nil && v.kind == stringNode {
			return v.text
		}
		return ""
	}
	kind, meta := text(n, "kind"), n.get("metadata")
	name, namespace := text(meta, "name"), text(meta, "namespace")
	if name == "" {
		return kind
	}
	if k := KindNamed(kind); k != nil && k.ClusterScoped {
		return kind + " " + name
	}
	if namespace == "" {
		namespace = d.namespace
	}
	return strings.TrimSpace(kind + " " + namespace + "/" + name)
}
