package wire

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// NameTableType is the type of name tables in ADS: Istio's name discovery
	// service, so that its agents understand Lateen's control plane.
	NameTableType = "type.googleapis.com/istio.networking.nds.v1.NameTable"
	// NameTableResource is the name of the one resource that the control plane sends.
	NameTableResource = "names"
)

// Field numbers of istio.networking.nds.v1.NameTable and NameTable.NameInfo.
const (
	tableEntries protowire.Number = 1

	entryKey   protowire.Number = 1
	entryValue protowire.Number = 2

	infoIPs       protowire.Number = 1
	infoRegistry  protowire.Number = 2
	infoShortName protowire.Number = 3
	infoNamespace protowire.Number = 4
)

// Registries of names, as Istio calls them.
const (
	Kubernetes = "Kubernetes" // a Service: its short forms are names too
	External   = "External"   // a ServiceEntry
)

// NameTable maps fully qualified host names, without the last dot, or wildcards
// ("*.example.com"), to what they stand for.
type NameTable map[string]Name

// Name is what a host name stands for.
type Name struct {
	// Addrs are sorted by the sender; none means that the name exists and has no
	// address.
	Addrs []netip.Addr
	// Registry says what kind of object the name is of; "" where it is not known.
	Registry string
	// ShortName and Namespace are those of a Kubernetes Service, whose short forms
	// ("reviews", "reviews.default") resolve too; "" for others.
	ShortName, Namespace string
}

// MarshalNameTable gives the wire form; equal tables give equal bytes.
func MarshalNameTable(t NameTable) []byte {
	var out []byte
	for _, host := range slices.Sorted(maps.Keys(t)) {
		n := t[host]
		var info []byte
		for _, a := range n.Addrs {
			info = appendString(info, infoIPs, a.String())
		}
		for _, f := range []struct {
			number protowire.Number
			value  string
		}{{infoRegistry, n.Registry}, {infoShortName, n.ShortName}, {infoNamespace, n.Namespace}} {
			if f.value != "" {
				info = appendString(info, f.number, f.value)
			}
		}
		entry := appendString(nil, entryKey, host)
		entry = appendBytes(entry, entryValue, info)
		out = appendBytes(out, tableEntries, entry)
	}
	return out
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// UnmarshalNameTable reads the wire form. Of two entries with one name the last
// counts, as in any map of protobuf. An address that does not parse is an error:
// half a table would answer that names do not exist.
func UnmarshalNameTable(b []byte) (NameTable, error) {
	t := NameTable{}
	err := fields(b, func(n protowire.Number, v []byte) error {
		if n != tableEntries {
			return nil
		}
		host, name, err := unmarshalEntry(v)
		if err != nil {
			return err
		}
		t[host] = name
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("name table: %w", err)
	}
	return t, nil
}

func unmarshalEntry(b []byte) (host string, name Name, err error) {
	err = fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case entryKey:
			host = string(v)
		case entryValue:
			name = Name{} // a value that comes twice replaces, since maps hold no merges
			return unmarshalInfo(v, &name)
		}
		return nil
	})
	if err == nil && host == "" {
		err = fmt.Errorf("an entry has no name")
	}
	if err != nil && host != "" {
		err = fmt.Errorf("%q: %w", host, err)
	}
	return host, name, err
}

func unmarshalInfo(b []byte, name *Name) error {
	return fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case infoIPs:
			a, err := netip.ParseAddr(string(v))
			if err != nil {
				return err
			}
			name.Addrs = append(name.Addrs, a.Unmap())
		case infoRegistry:
			name.Registry = string(v)
		case infoShortName:
			name.ShortName = string(v)
		case infoNamespace:
			name.Namespace = string(v)
		}
		return nil
	})
}

// fields calls f for every field of the length-delimited type, and skips others.
func fields(b []byte, f func(n protowire.Number, v []byte) error) error {
	for len(b) > 0 {
		number, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(number, kind, b); size < 0 {
				return protowire.ParseError(size)
			}
			b = b[size:]
			continue
		}
		v, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if err := f(number, v); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}
