package hostport

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix" // nftables and netfilter constants
)

// The table, as nft would print it (one subnet of each family):
//
//	map any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
//	map at4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
//	map any6, map at6: the same with ipv6_addr
//	chain guard { type filter hook prerouting priority raw;
//	  iifname BRIDGE ip daddr 127.0.0.0/8 drop
//	  iifname BRIDGE ip saddr 127.0.0.0/8 drop }
//	chain ports {
//	  dnat ip to ip daddr . meta l4proto . th dport map @at4
//	  fib daddr type local dnat ip to meta l4proto . th dport map @any4
//	  … and for ip6 }
//	chain prerouting { type nat hook prerouting priority dstnat; jump ports }
//	chain output { type nat hook output priority dstnat; jump ports }
//	chain postrouting { type nat hook postrouting priority srcnat;
//	  ip saddr SUBNET4 oifname != BRIDGE masquerade fully-random
//	  ip saddr SUBNET4 oifname BRIDGE ct status dnat masquerade
//	  ip saddr 127.0.0.0/8 oifname BRIDGE masquerade
//	  … and for ip6 but the last }
//
// The guard is there because route_localnet on the bridge, which 127.0.0.1:hostPort
// needs, would open the node's loopback to the pods (CVE-2020-8558).

// sets are the four maps: any address and one address, IPv4 and IPv6.
type sets [4]*nftables.Set

func (t *Table) table() *nftables.Table {
	return &nftables.Table{Name: t.c.Table, Family: nftables.TableFamilyINet}
}

func (t *Table) sets(table *nftables.Table) sets {
	var s sets
	for i, name := range [...]string{"any4", "at4", "any6", "at6"} {
		addr := nftables.TypeIPAddr
		if i >= 2 {
			addr = nftables.TypeIP6Addr
		}
		key := nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
		if i%2 == 1 {
			key = nftables.MustConcatSetType(addr, nftables.TypeInetProto, nftables.TypeInetService)
		}
		s[i] = &nftables.Set{
			Table: table, Name: name, ID: uint32(i + 1), IsMap: true, Concatenation: true,
			KeyType: key, DataType: nftables.MustConcatSetType(addr, nftables.TypeInetService),
		}
	}
	return s
}

func (s sets) of(e entry) *nftables.Set {
	i := 0
	if !e.v4() {
		i = 2
	}
	if e.host.IsValid() {
		i++
	}
	return s[i]
}

func (s sets) group(entries []entry) map[*nftables.Set][]nftables.SetElement {
	out := map[*nftables.Set][]nftables.SetElement{}
	for _, e := range entries {
		set := s.of(e)
		out[set] = append(out[set], element(e))
	}
	return out
}

// element encodes an entry; each field of a concatenation is padded to 4 bytes.
func element(e entry) nftables.SetElement {
	var key []byte
	if e.host.IsValid() {
		key = e.host.AsSlice()
	}
	key = append(key, e.proto, 0, 0, 0)
	key = append(binary.BigEndian.AppendUint16(key, e.port), 0, 0)
	val := append(binary.BigEndian.AppendUint16(e.target.Addr().AsSlice(), e.target.Port()), 0, 0)
	return nftables.SetElement{Key: key, Val: val}
}

func (t *Table) addChains(conn *nftables.Conn, table *nftables.Table, s sets) {
	base := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: typ, Hooknum: hook, Priority: prio})
	}
	add := func(c *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: all})
	}
	fromBridge := ifname(expr.MetaKeyIIFNAME, expr.CmpOpEq, t.c.Bridge)
	toBridge := ifname(expr.MetaKeyOIFNAME, expr.CmpOpEq, t.c.Bridge)
	away := ifname(expr.MetaKeyOIFNAME, expr.CmpOpNeq, t.c.Bridge)
	loopback := netip.MustParsePrefix("127.0.0.0/8")

	guard := base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	add(guard, fromBridge, within(loopback, false), verdict(expr.VerdictDrop, ""))
	add(guard, fromBridge, within(loopback, true), verdict(expr.VerdictDrop, ""))

	ports := conn.AddChain(&nftables.Chain{Table: table, Name: "ports"})
	for i, v4 := range []bool{true, false} {
		add(ports, family(v4), lookup(s[2*i+1], v4, true), dnat(v4))
		add(ports, family(v4), local(), lookup(s[2*i], v4, false), dnat(v4))
	}
	for _, c := range []*nftables.Chain{
		base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest),
		base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest),
	} {
		add(c, verdict(expr.VerdictJump, "ports"))
	}

	post := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, subnet := range t.c.Subnets {
		if t.c.Masquerade {
			add(post, within(subnet, true), away, []expr.Any{&expr.Masq{FullyRandom: true}})
		}
		add(post, within(subnet, true), toBridge, translatedTo(), []expr.Any{&expr.Masq{}})
	}
	add(post, within(loopback, true), toBridge, []expr.Any{&expr.Masq{}})
}

func ifname(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func family(v4 bool) []expr.Any {
	proto := byte(unix.NFPROTO_IPV4)
	if !v4 {
		proto = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// address loads the source or destination address of the network header.
func address(v4, source bool) *expr.Payload {
	p := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	if source {
		p.Offset = 12
	}
	if !v4 {
		p.Len, p.Offset = 16, 24
		if source {
			p.Offset = 8
		}
	}
	return p
}

func within(subnet netip.Prefix, source bool) []expr.Any {
	addr := subnet.Masked().Addr()
	load := address(addr.Is4(), source)
	return append(family(addr.Is4()), load,
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: load.Len,
			Mask: net.CIDRMask(subnet.Bits(), addr.BitLen()), Xor: make([]byte, load.Len),
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
	)
}

func local() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func translatedTo() []expr.Any {
	const dstNAT = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(dstNAT), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// register numbers a 4-byte register; number 0 is where the 16-byte register 1 begins.
func register(n uint32) uint32 { return unix.NFT_REG32_00 + n }

// lookup builds the key in registers 0 and up, and leaves address and port there.
func lookup(s *nftables.Set, v4, withAddr bool) []expr.Any {
	var out []expr.Any
	at := uint32(0)
	if withAddr {
		load := address(v4, false)
		out = append(out, load)
		at = load.Len / 4
	}
	return append(out,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(at)},
		&expr.Payload{DestRegister: register(at + 1), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: s.Name, SetID: s.ID},
	)
}

func dnat(v4 bool) []expr.Any {
	n := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: register(1), Specified: true}
	if !v4 {
		n.Family, n.RegProtoMin = unix.NFPROTO_IPV6, register(4)
	}
	return []expr.Any{n}
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}
