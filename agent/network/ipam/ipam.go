// Package ipam gives out the addresses of one subnet, from memory: what is taken is
// derived from the pods that exist, so nothing is stored. It is pure, and safe for
// concurrent use (one mutex a pool, held for a map look-up).
package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Pool is the free and the taken addresses of a subnet. The first address is the
// gateway's; the network's own address and, in IPv4, the broadcast address are not given.
type Pool struct {
	subnet      netip.Prefix
	first, last uint64 // offsets into the subnet that may be given

	mu    sync.Mutex
	next  uint64
	owner map[netip.Addr]string
}

// New makes a pool of a subnet of at least four addresses; lifecycle.ErrInvalid otherwise.
func New(subnet netip.Prefix) (*Pool, error) {
	subnet = subnet.Masked()
	if !subnet.IsValid() {
		return nil, fmt.Errorf("subnet %s: %w", subnet, lifecycle.ErrInvalid)
	}
	bits := subnet.Addr().BitLen() - subnet.Bits()
	if bits < 2 {
		return nil, fmt.Errorf("subnet %s: fewer than 4 addresses: %w", subnet, lifecycle.ErrInvalid)
	}
	// Offsets are 64 bits wide: the upper half of a subnet wider than a /64 stays unused.
	last := ^uint64(0)
	if bits < 64 {
		last = 1<<bits - 1
	}
	if subnet.Addr().Is4() {
		last-- // broadcast
	}
	return &Pool{subnet: subnet, first: 2, last: last, next: 2, owner: map[netip.Addr]string{}}, nil
}

// Subnet is the pool's subnet; Gateway its first address.
func (p *Pool) Subnet() netip.Prefix { return p.subnet }
func (p *Pool) Gateway() netip.Addr  { return p.at(1) }

// Allocate takes the next free address for owner. The search goes on from the address
// given last and wraps around, so an address that was just released comes back as late
// as possible: neighbours' ARP entries and conntrack's have expired by then.
// lifecycle.ErrExhausted when all are taken.
func (p *Pool) Allocate(owner string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := p.last - p.first + 1
	for n := uint64(0); n < size; n++ {
		addr := p.at(p.next)
		if p.next++; p.next > p.last || p.next < p.first {
			p.next = p.first
		}
		if _, taken := p.owner[addr]; !taken {
			p.owner[addr] = owner
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("subnet %s: all %d addresses are taken: %w", p.subnet, size, lifecycle.ErrExhausted)
}

// Reserve takes a given address, and moves the search behind it. It is no error when
// owner has it already; lifecycle.ErrExists when another has, lifecycle.ErrInvalid when
// the subnet does not give it.
func (p *Pool) Reserve(addr netip.Addr, owner string) error {
	off, ok := p.offset(addr)
	if !ok || off < p.first || off > p.last {
		return fmt.Errorf("address %s is none of subnet %s's: %w", addr, p.subnet, lifecycle.ErrInvalid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if has, taken := p.owner[addr]; taken && has != owner {
		return fmt.Errorf("address %s is taken by %s: %w", addr, has, lifecycle.ErrExists)
	}
	p.owner[addr] = owner
	if off >= p.next {
		if p.next = off + 1; p.next > p.last || p.next < p.first {
			p.next = p.first
		}
	}
	return nil
}

// Release gives back what owner has; it tells how many addresses that were.
func (p *Pool) Release(owner string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for addr, has := range p.owner {
		if has == owner {
			delete(p.owner, addr)
			n++
		}
	}
	return n
}

// Taken is the number of addresses that are given.
func (p *Pool) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.owner)
}

func (p *Pool) at(off uint64) netip.Addr {
	b := p.subnet.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])|off)
	if addr := netip.AddrFrom16(b); !p.subnet.Addr().Is4() {
		return addr
	} else {
		return addr.Unmap()
	}
}

func (p *Pool) offset(addr netip.Addr) (uint64, bool) {
	addr = addr.Unmap()
	if !p.subnet.Contains(addr) {
		return 0, false
	}
	a, s := addr.As16(), p.subnet.Addr().As16()
	return binary.BigEndian.Uint64(a[8:]) ^ binary.BigEndian.Uint64(s[8:]), true
}
