package stream

// Metadata is the dynamic metadata of an exchange: values that filters leave for
// the filters after them and for logs, by the name of a filter and a key. The
// zero value is empty. Values are strings, float64, bool, nil, []any and
// map[string]any (as encoding/json has them), and are not changed once they are
// set. It belongs to the stream's goroutine.
type Metadata struct{ entries []metadatum }

type metadatum struct {
	filter, key string
	value       any
}

// Set puts a value in place of what is there under the same filter and key.
func (m *Metadata) Set(filter, key string, value any) {
	for i := range m.entries {
		if e := &m.entries[i]; e.filter == filter && e.key == key {
			e.value = value
			return
		}
	}
	m.entries = append(m.entries, metadatum{filter, key, value})
}

// Get follows a path of keys below a filter's name. ok is false where it does not
// lead to a value.
func (m *Metadata) Get(filter string, path ...string) (value any, ok bool) {
	if len(path) == 0 {
		return nil, false
	}
	for i := range m.entries {
		if e := &m.entries[i]; e.filter == filter && e.key == path[0] {
			return follow(e.value, path[1:])
		}
	}
	return nil, false
}

func follow(value any, path []string) (any, bool) {
	for _, key := range path {
		object, _ := value.(map[string]any)
		var ok bool
		if value, ok = object[key]; !ok {
			return nil, false
		}
	}
	return value, true
}

// Reset empties the metadata and keeps its memory.
func (m *Metadata) Reset() {
	clear(m.entries)
	m.entries = m.entries[:0]
}
