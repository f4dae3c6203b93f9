package intercept

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Apply installs the table in the network namespace of the calling thread, in
// one transaction: all of it or nothing. A table of that name is replaced.
func Apply(t Table) error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	defer c.CloseLasting()
	// Adding a table that is there is no error, so that the deletion cannot fail.
	old := c.AddTable(&nftables.Table{Name: t.Name, Family: nftables.TableFamilyIPv4})
	c.DelTable(old)
	table := c.AddTable(&nftables.Table{Name: t.Name, Family: nftables.TableFamilyIPv4})
	for _, chain := range t.Chains {
		hook := nftables.ChainHookOutput
		if chain.Hook == Prerouting {
			hook = nftables.ChainHookPrerouting
		}
		nc := c.AddChain(&nftables.Chain{
			Name: chain.Name, Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: hook, Priority: nftables.ChainPriorityNATDest,
		})
		for _, r := range chain.Rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: nc, Exprs: r.expressions(chain.Hook),
				UserData: userdata.AppendString(nil, userdata.TypeComment, r.Explanation)})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("installing the redirection rules: %w", err)
	}
	return nil
}

// Remove takes the table out of the namespace of the calling thread.
func Remove() error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	defer c.CloseLasting()
	c.DelTable(c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}))
	if err := c.Flush(); err != nil {
		return fmt.Errorf("removing the redirection rules: %w", err)
	}
	return nil
}

// Verify reports an error unless the namespace of the calling thread holds the
// table with as many rules in each chain as t has.
func Verify(t Table) error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	defer c.CloseLasting()
	table := &nftables.Table{Name: t.Name, Family: nftables.TableFamilyIPv4}
	var errs []error
	for _, chain := range t.Chains {
		rules, err := c.GetRules(table, &nftables.Chain{Name: chain.Name, Table: table})
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("chain %s: %w", chain.Name, err))
		case len(rules) != len(chain.Rules):
			errs = append(errs, fmt.Errorf("chain %s has %d rules, want %d", chain.Name, len(rules), len(chain.Rules)))
		}
	}
	return errors.Join(errs...)
}

// expressions compiles a rule to the virtual machine of nftables: each condition
// loads a register and compares it.
func (r Rule) expressions(h Hook) []expr.Any {
	var e []expr.Any
	equal := func(load expr.Any, data []byte) {
		e = append(e, load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data})
	}
	if r.Mark != 0 {
		equal(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, binaryutil.NativeEndian.PutUint32(r.Mark))
	}
	if r.Interface != "" {
		key := expr.MetaKeyOIFNAME
		if h == Prerouting {
			key = expr.MetaKeyIIFNAME
		}
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, r.Interface)
		equal(&expr.Meta{Key: key, Register: 1}, name)
	}
	e = append(e, matchAddr(12, r.NotSource, expr.CmpOpNeq)...)
	e = append(e, matchAddr(16, r.Dest, expr.CmpOpEq)...)
	e = append(e, matchAddr(16, r.NotDest, expr.CmpOpNeq)...)
	if r.Proto != AnyProto {
		equal(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{byte(r.Proto)})
	}
	if r.DestPort != 0 {
		equal(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, binary.BigEndian.AppendUint16(nil, r.DestPort))
	}
	if r.Redirect == 0 {
		return append(e, &expr.Verdict{Kind: expr.VerdictAccept})
	}
	return append(e,
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, r.Redirect)},
		&expr.Redir{RegisterProtoMin: 1})
}

// matchAddr compares the IPv4 address at an offset of the header with a prefix.
func matchAddr(offset uint32, p netip.Prefix, op expr.CmpOp) []expr.Any {
	if !p.IsValid() {
		return nil
	}
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	if p.Bits() == 0 {
		mask = make([]byte, 4)
	}
	addr := p.Masked().Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: addr[:]},
	}
}
