package bridge

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// avoided are blocks that clusters use without a route on the node (Service ranges live
// in NAT rules only), or that its neighbours often have.
var avoided = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/15"),   // the commonest site networks
	netip.MustParsePrefix("10.96.0.0/12"),  // kubeadm's Services
	netip.MustParsePrefix("10.42.0.0/15"),  // k3s's pods and Services
	netip.MustParsePrefix("10.152.0.0/16"), // MicroK8s's Services
	netip.MustParsePrefix("10.244.0.0/16"), // flannel's and kind's pods
	netip.MustParsePrefix("172.17.0.0/16"), // Docker's default bridge
	netip.MustParsePrefix("172.30.0.0/16"), // OpenShift's Services
	netip.MustParsePrefix("10.128.0.0/14"), // OpenShift's pods
	netip.MustParsePrefix("fd00:10::/32"),  // kind's and kubeadm's examples
}

// choose4 picks a /16 of RFC 1918 space: first in 10/8, from a place derived from the
// tag, so that agents on one machine start apart and find the same one again.
func choose4(tag string, taken []netip.Prefix) (netip.Prefix, error) {
	start := int(seed(tag)[0])
	for i := range 256 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(start + i)}), 16)
		if free(p, taken) {
			return p, nil
		}
	}
	for i := range 16 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + (start+i)%16)}), 16)
		if free(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no /16 of 10/8 or 172.16/12 is without a route; name a subnet in the configuration: %w",
		lifecycle.ErrExhausted)
}

// choose6 picks a unique local /64 (RFC 4193), global ID and subnet from the tag.
func choose6(tag string, taken []netip.Prefix) (netip.Prefix, error) {
	h := seed(tag)
	for i := range 256 {
		a := [16]byte{0: 0xfd}
		copy(a[1:8], h[:7])
		a[7] += byte(i)
		if p := netip.PrefixFrom(netip.AddrFrom16(a), 64); free(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("256 unique local /64s have routes; name a subnet in the configuration: %w",
		lifecycle.ErrExhausted)
}

// nodeResolvers are the addresses of the node's name servers. They are reached by the default route, so no
// route of their own tells of them, and a bridge over one of them would take DNS away from the node.
func nodeResolvers() []netip.Prefix {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil // a node without name servers has none to lose
	}
	return resolvers(data)
}

// resolvers reads the nameserver lines of resolv.conf(5), each as a prefix of one address.
func resolvers(conf []byte) []netip.Prefix {
	var out []netip.Prefix
	for line := range bytes.Lines(conf) {
		f := bytes.Fields(line)
		if len(f) < 2 || string(f[0]) != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(string(f[1])); err == nil {
			a = a.WithZone("")
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

func seed(tag string) [32]byte { return sha256.Sum256([]byte("slipway subnet " + tag)) }

// free tells whether p is neither avoided nor touched by what is taken; the default route takes nothing.
func free(p netip.Prefix, taken []netip.Prefix) bool {
	for _, list := range [][]netip.Prefix{avoided, taken} {
		for _, t := range list {
			if t.Bits() > 0 && t.Overlaps(p) {
				return false
			}
		}
	}
	return true
}
