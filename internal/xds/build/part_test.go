package build

import (
	"bytes"
	"testing"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// TestJoinedTable: a table that is put together of its hosts' bytes is the table.
func TestJoinedTable(t *testing.T) {
	table := ir.Table{Name: "80"}
	var pieces [][]byte
	for _, name := range []string{"a:80", "b:80", "c:80"} {
		h := ir.VirtualHost{Name: name, Domains: []string{name[:1], name[:1] + ".default"}, Routes: []ir.Route{{
			Name: "default", Match: ir.Match{Path: ir.StringMatch{Kind: ir.Prefix, Value: "/"}},
			Clusters: []ir.WeightedCluster{{Cluster: ir.Key{Direction: ir.OutboundTo, Port: 80, Host: name}, Weight: 100}},
		}}}
		table.Hosts = append(table.Hosts, h)
		p, err := VirtualHost(&h)
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, p)
	}
	want, err := Table(&table)
	if err != nil {
		t.Fatal(err)
	}
	got, err := JoinedTable("80", pieces, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Body, want.Body) || got.Hash != want.Hash || got.Name != want.Name {
		t.Errorf("joined:\n%x\nwhole:\n%x", got.Body, want.Body)
	}
	pieces[0], pieces[1] = pieces[1], pieces[0]
	if other, err := JoinedTable("80", pieces, nil); err != nil || bytes.Equal(other.Body, want.Body) {
		t.Errorf("hosts in another order make the same table (%v)", err)
	}
}
