package intercept

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// program is a rule for the virtual machine of nftables: each condition loads
// register 1 and compares it.
type program struct{ e []expr.Any }

// expressions compiles a rule.
func (r Rule) expressions(f Family, h Hook) []expr.Any {
	var p program
	p.marks(r)
	if r.Interface != "" {
		key := expr.MetaKeyOIFNAME
		if h == Prerouting {
			key = expr.MetaKeyIIFNAME
		}
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, r.Interface)
		p.compare(&expr.Meta{Key: key, Register: 1}, expr.CmpOpEq, name)
	}
	for _, o := range r.Owners {
		key := expr.MetaKeySKUID
		if o.Group {
			key = expr.MetaKeySKGID
		}
		p.compare(&expr.Meta{Key: key, Register: 1}, equality(!o.Not), native(o.ID))
	}
	p.address(f, source, r.Source, expr.CmpOpEq)
	p.address(f, source, r.NotSource, expr.CmpOpNeq)
	p.address(f, dest, r.Dest, expr.CmpOpEq)
	p.address(f, dest, r.NotDest, expr.CmpOpNeq)
	p.transport(r)
	p.act(f, r)
	return p.e
}

func (p *program) add(e ...expr.Any) { p.e = append(p.e, e...) }

func (p *program) compare(load expr.Any, op expr.CmpOp, data []byte) {
	p.add(load, &expr.Cmp{Op: op, Register: 1, Data: data})
}

func equality(equal bool) expr.CmpOp {
	if equal {
		return expr.CmpOpEq
	}
	return expr.CmpOpNeq
}

func native(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }

func (p *program) marks(r Rule) {
	if r.Mark != 0 {
		p.compare(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, expr.CmpOpEq, native(r.Mark))
	}
	if r.NotMark != 0 {
		p.compare(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, expr.CmpOpNeq, native(r.NotMark))
	}
	if r.ConnMark != 0 {
		p.compare(&expr.Ct{Key: expr.CtKeyMARK, Register: 1}, expr.CmpOpEq, native(r.ConnMark))
	}
	if r.States != 0 {
		p.add(&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(uint32(r.States)), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
	}
}

// side is the source or the destination of a packet.
type side uint8

const (
	source side = iota
	dest
)

// address compares an address of the packet with a prefix.
func (p *program) address(f Family, s side, prefix netip.Prefix, op expr.CmpOp) {
	if !prefix.IsValid() {
		return
	}
	// Offsets in the headers: RFC 791 section 3.1, RFC 8200 section 3.
	offset, size := [...]uint32{12, 16}[s], 4
	if f == IPv6 {
		offset, size = [...]uint32{8, 24}[s], 16
	}
	mask := make([]byte, size)
	for i := range prefix.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	p.add(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(size)},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: prefix.Masked().Addr().AsSlice()})
}

func (p *program) transport(r Rule) {
	if r.Proto == AnyProto {
		return
	}
	p.compare(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, expr.CmpOpEq, []byte{byte(r.Proto)})
	port := func(offset uint32, op expr.CmpOp, n uint16) {
		p.compare(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}, op, binary.BigEndian.AppendUint16(nil, n))
	}
	if r.SourcePort != 0 {
		port(0, expr.CmpOpEq, r.SourcePort)
	}
	for _, n := range r.NotDestPorts {
		port(2, expr.CmpOpNeq, n)
	}
	if r.DestPort != 0 {
		port(2, expr.CmpOpEq, r.DestPort)
	}
}

func (p *program) act(f Family, r Rule) {
	if r.Zone != 0 {
		p.add(&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint16(r.Zone)},
			&expr.Ct{Key: expr.CtKeyZONE, Register: 1, SourceRegister: true})
	}
	if r.TProxy != 0 {
		family := byte(unix.NFPROTO_IPV4)
		if f == IPv6 {
			family = unix.NFPROTO_IPV6
		}
		p.add(&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, r.TProxy)},
			&expr.TProxy{Family: family, TableFamily: family, RegPort: 1})
	}
	if r.SetMark != 0 {
		p.add(&expr.Immediate{Register: 1, Data: native(r.SetMark)},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true})
	}
	if r.SaveMark {
		p.add(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true})
	}
	if r.RestoreMark {
		p.add(&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true})
	}
	switch {
	case r.Redirect != 0:
		p.add(&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, r.Redirect)},
			&expr.Redir{RegisterProtoMin: 1})
	case r.Verdict == Accept:
		p.add(&expr.Verdict{Kind: expr.VerdictAccept})
	case r.Verdict == Drop:
		p.add(&expr.Verdict{Kind: expr.VerdictDrop})
	}
}
