package intercept

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

// Apply installs the table in the network namespace of the calling thread, in
// one transaction: all of it or nothing. A table of that name is replaced.
func Apply(t Table) error { return Ruleset{t}.Apply() }

// Apply installs the tables in the network namespace of the calling thread, in
// one transaction: all of them or nothing. Tables of their names are replaced, so
// that doing it again changes nothing; connections that stand go on.
func (rs Ruleset) Apply() error {
	return transaction("installing the redirection rules", func(c *nftables.Conn) {
		for _, t := range rs {
			t.replace(c)
		}
	})
}

// Remove takes the table of one-machine workloads (IPv4) out of the namespace of
// the calling thread.
func Remove() error { return Ruleset{{Name: tableName}}.Remove() }

// Remove takes the tables out of the namespace of the calling thread; what is not
// there is no error.
func (rs Ruleset) Remove() error {
	return transaction("removing the redirection rules", func(c *nftables.Conn) {
		for _, t := range rs {
			t.drop(c)
		}
	})
}

// transaction opens nftables in the namespace of the calling thread, collects
// what f asks for and does all of it or nothing.
func transaction(what string, f func(*nftables.Conn)) error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	defer c.CloseLasting()
	f(c)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (t Table) handle() *nftables.Table {
	family := nftables.TableFamilyIPv4
	if t.Family == IPv6 {
		family = nftables.TableFamilyIPv6
	}
	return &nftables.Table{Name: t.Name, Family: family}
}

// drop deletes the table. Adding a table that is there is no error, so that the
// deletion cannot fail.
func (t Table) drop(c *nftables.Conn) { c.DelTable(c.AddTable(t.handle())) }

func (t Table) replace(c *nftables.Conn) {
	t.drop(c)
	table := c.AddTable(t.handle())
	for _, chain := range t.Chains {
		nc := c.AddChain(chain.handle(table))
		for _, r := range chain.Rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: nc, Exprs: r.expressions(t.Family, chain.Hook),
				UserData: userdata.AppendString(nil, userdata.TypeComment, r.Explanation)})
		}
	}
}

func (c Chain) handle(table *nftables.Table) *nftables.Chain {
	hook := nftables.ChainHookOutput
	if c.Hook == Prerouting {
		hook = nftables.ChainHookPrerouting
	}
	priority := [...]*nftables.ChainPriority{nftables.ChainPriorityNATDest, nftables.ChainPriorityMangle, nftables.ChainPriorityRaw}[c.Stage]
	return &nftables.Chain{Name: c.Name, Table: table, Type: nftables.ChainType(c.kind()), Hooknum: hook, Priority: priority}
}

// Verify reports an error unless the namespace of the calling thread holds the
// table with t's rules in each chain.
func Verify(t Table) error { return Ruleset{t}.Verify() }

// Verify reports an error unless the namespace of the calling thread holds each
// of the tables, with as many rules in each chain and in the order that their
// explanations tell.
func (rs Ruleset) Verify() error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	defer c.CloseLasting()
	var errs []error
	for _, t := range rs {
		for _, chain := range t.Chains {
			if err := chain.verify(c, t.handle()); err != nil {
				errs = append(errs, fmt.Errorf("table %s %s, chain %s: %w", t.Family, t.Name, chain.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Present tells whether the namespace of the calling thread holds redirection
// rules, whichever they are.
func Present() (bool, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return false, fmt.Errorf("opening nftables: %w", err)
	}
	defer c.CloseLasting()
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("listing nftables' tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName }), nil
}

func (c Chain) verify(nft *nftables.Conn, table *nftables.Table) error {
	rules, err := nft.GetRules(table, &nftables.Chain{Name: c.Name, Table: table})
	if err != nil {
		return err
	}
	if len(rules) != len(c.Rules) {
		return fmt.Errorf("it has %d rules, want %d", len(rules), len(c.Rules))
	}
	for i, r := range rules {
		if got, _ := userdata.GetString(r.UserData, userdata.TypeComment); got != c.Rules[i].Explanation {
			return fmt.Errorf("rule %d is %q, want %q", i+1, got, c.Rules[i].Explanation)
		}
	}
	return nil
}
