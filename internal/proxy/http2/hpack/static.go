package hpack

import "bytes"

// pair is an entry of the static table.
type pair struct{ name, value []byte }

// staticTable is the table of RFC 7541, appendix A; index 1 is its first entry.
var staticTable = func() (t [61]pair) {
	for i, s := range [61][2]string{
		{":authority", ""},
		{":method", "GET"},
		{":method", "POST"},
		{":path", "/"},
		{":path", "/index.html"},
		{":scheme", "http"},
		{":scheme", "https"},
		{":status", "200"},
		{":status", "204"},
		{":status", "206"},
		{":status", "304"},
		{":status", "400"},
		{":status", "404"},
		{":status", "500"},
		{"accept-charset", ""},
		{"accept-encoding", "gzip, deflate"},
		{"accept-language", ""},
		{"accept-ranges", ""},
		{"accept", ""},
		{"access-control-allow-origin", ""},
		{"age", ""},
		{"allow", ""},
		{"authorization", ""},
		{"cache-control", ""},
		{"content-disposition", ""},
		{"content-encoding", ""},
		{"content-language", ""},
		{"content-length", ""},
		{"content-location", ""},
		{"content-range", ""},
		{"content-type", ""},
		{"cookie", ""},
		{"date", ""},
		{"etag", ""},
		{"expect", ""},
		{"expires", ""},
		{"from", ""},
		{"host", ""},
		{"if-match", ""},
		{"if-modified-since", ""},
		{"if-none-match", ""},
		{"if-range", ""},
		{"if-unmodified-since", ""},
		{"last-modified", ""},
		{"link", ""},
		{"location", ""},
		{"max-forwards", ""},
		{"proxy-authenticate", ""},
		{"proxy-authorization", ""},
		{"range", ""},
		{"referer", ""},
		{"refresh", ""},
		{"retry-after", ""},
		{"server", ""},
		{"set-cookie", ""},
		{"strict-transport-security", ""},
		{"transfer-encoding", ""},
		{"user-agent", ""},
		{"vary", ""},
		{"via", ""},
		{"www-authenticate", ""},
	} {
		t[i] = pair{[]byte(s[0]), []byte(s[1])}
	}
	return t
}()

// staticIndex finds the first entry of a name: a hash table with open addressing,
// 0 where there is none.
var staticIndex = func() (t [256]uint8) {
	for i := range staticTable {
		if i > 0 && bytes.Equal(staticTable[i].name, staticTable[i-1].name) {
			continue
		}
		h := staticHash(staticTable[i].name)
		for t[h] != 0 {
			h++
		}
		t[h] = uint8(i + 1)
	}
	return t
}()

func staticHash(name []byte) uint8 {
	return uint8(len(name))*31 + name[len(name)-1]*7 + name[len(name)/2]*3 + name[0]
}

// searchStatic returns the index of the entry with this name and value (full), or
// of the first with this name, else 0.
func searchStatic(name, value []byte) (index uint32, full bool) {
	if len(name) == 0 {
		return 0, false
	}
	for h := staticHash(name); ; h++ {
		i := int(staticIndex[h])
		if i == 0 {
			return 0, false
		}
		if !bytes.Equal(staticTable[i-1].name, name) {
			continue
		}
		for j := i; j <= len(staticTable) && bytes.Equal(staticTable[j-1].name, name); j++ {
			if len(value) > 0 && bytes.Equal(staticTable[j-1].value, value) {
				return uint32(j), true
			}
		}
		return uint32(i), false
	}
}
