package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// Set holds resources by type and name.
type Set map[string]map[string]client.Resource

// The file: magic, version, SHA-256 of all that follows, then strings (an unsigned
// varint of the length, and the bytes): the node's id, and for each resource its type,
// name, version and body, in order.
const (
	magic   = "LTNXDS"
	version = 1
)

const headSize = len(magic) + 1 + sha256.Size

// Marshal gives the file's content; equal sets give equal bytes.
func Marshal(node string, set Set) []byte {
	b := make([]byte, headSize, headSize+set.size())
	copy(b, magic)
	b[len(magic)] = version
	b = appendText(b, node)
	for _, typeURL := range slices.Sorted(maps.Keys(set)) {
		for _, name := range slices.Sorted(maps.Keys(set[typeURL])) {
			r := set[typeURL][name]
			b = appendText(appendText(appendText(b, typeURL), name), r.Version)
			b = appendText(b, r.Body)
		}
	}
	sum := sha256.Sum256(b[headSize:])
	copy(b[len(magic)+1:], sum[:])
	return b
}

func (s Set) size() int {
	n := 256
	for typeURL, m := range s {
		for name, r := range m {
			n += len(typeURL) + len(name) + len(r.Version) + len(r.Body) + 4*binary.MaxVarintLen32
		}
	}
	return n
}

func appendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

var errDamaged = errors.New("the file is damaged")

// Unmarshal reads a file's content. The bodies share its memory.
func Unmarshal(b []byte) (node string, set Set, err error) {
	if len(b) < headSize || string(b[:len(magic)]) != magic {
		return "", nil, errDamaged
	}
	if v := b[len(magic)]; v != version {
		return "", nil, fmt.Errorf("the file is of version %d, not %d", v, version)
	}
	rest := b[headSize:]
	if sum := sha256.Sum256(rest); !bytes.Equal(sum[:], b[len(magic)+1:headSize]) {
		return "", nil, errDamaged
	}
	return unmarshalBody(rest)
}

func unmarshalBody(rest []byte) (node string, set Set, err error) {
	first, rest, err := cutText(rest)
	if err != nil {
		return "", nil, err
	}
	set = Set{}
	for len(rest) > 0 {
		var f [4][]byte
		for i := range f {
			if f[i], rest, err = cutText(rest); err != nil {
				return "", nil, err
			}
		}
		typeURL, name := string(f[0]), string(f[1])
		if set[typeURL] == nil {
			set[typeURL] = map[string]client.Resource{}
		}
		set[typeURL][name] = client.Resource{Name: name, Version: string(f[2]), Body: f[3]}
	}
	return string(first), set, nil
}

func cutText(b []byte) (text, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, errDamaged
	}
	b = b[used:]
	return b[:n:n], b[n:], nil
}
