package spiffe

import "testing"

func TestParse(t *testing.T) {
	id, err := Parse("spiffe://cluster.local/ns/default/sa/bookinfo-reviews")
	if err != nil || id != (ID{"cluster.local", "default", "bookinfo-reviews"}) {
		t.Errorf("%v, %v", id, err)
	}
	if id.URI().String() != id.String() {
		t.Errorf("URI %s, text %s", id.URI(), id)
	}
	for _, bad := range []string{
		"", "cluster.local/ns/a/sa/b", "https://cluster.local/ns/a/sa/b", "spiffe:///ns/a/sa/b", "spiffe://Cluster/ns/a/sa/b",
		"spiffe://c/ns/a/sa/", "spiffe://c/ns//sa/b", "spiffe://c/ns/../sa/b", "spiffe://c/ns/a/sa/b/", "spiffe://c/ns/a/sa/b?x", "spiffe://c/ns/a/sa/b%2f",
		"spiffe://c:1/ns/a/sa/b", "spiffe://u@c/ns/a/sa/b", "spiffe://c/sa/a/ns/b", "spiffe://c/ns/ä/sa/b",
	} {
		if id, err := Parse(bad); err == nil {
			t.Errorf("%q parses as %v", bad, id)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("spiffe://cluster.local/ns/default/sa/x")
	f.Add("spiffe://c/ns/../sa/b")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := Parse(s)
		if err != nil {
			return
		}
		if id.String() != s || id.URI().String() != s {
			t.Errorf("%q comes back as %q and %q", s, id.String(), id.URI())
		}
	})
}
