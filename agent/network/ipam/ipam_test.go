package ipam

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func pool(t *testing.T, subnet string) *Pool {
	t.Helper()
	p, err := New(netip.MustParsePrefix(subnet))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func allocate(t *testing.T, p *Pool, owner string) string {
	t.Helper()
	a, err := p.Allocate(owner)
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

func TestEdges(t *testing.T) {
	for _, c := range []struct {
		subnet, gateway, first string
		size                   int
	}{
		{"10.1.2.0/29", "10.1.2.1", "10.1.2.2", 5},
		{"10.1.2.77/29", "10.1.2.73", "10.1.2.74", 5}, // not masked
		{"10.1.2.4/30", "10.1.2.5", "10.1.2.6", 1},
		{"fd00:1::/126", "fd00:1::1", "fd00:1::2", 2},
	} {
		p := pool(t, c.subnet)
		if got := p.Gateway().String(); got != c.gateway {
			t.Errorf("%s: gateway %s, want %s", c.subnet, got, c.gateway)
		}
		if got := allocate(t, p, "a"); got != c.first {
			t.Errorf("%s: first address %s, want %s", c.subnet, got, c.first)
		}
		for range c.size - 1 {
			allocate(t, p, "a")
		}
		if _, err := p.Allocate("b"); !errors.Is(err, lifecycle.ErrExhausted) {
			t.Errorf("%s: after %d addresses: %v, want exhausted", c.subnet, c.size, err)
		}
		if n := p.Release("a"); n != c.size || p.Taken() != 0 {
			t.Errorf("%s: released %d, want %d; %d are taken still", c.subnet, n, c.size, p.Taken())
		}
	}
}

func TestTooSmall(t *testing.T) {
	for _, s := range []string{"10.0.0.0/31", "10.0.0.0/32", "fd00::/127"} {
		if _, err := New(netip.MustParsePrefix(s)); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", s, err)
		}
	}
	if _, err := New(netip.Prefix{}); !errors.Is(err, lifecycle.ErrInvalid) {
		t.Errorf("no subnet: %v, want invalid", err)
	}
}

func TestReleasedAddressesComeBackLast(t *testing.T) {
	p := pool(t, "10.0.0.0/29")
	one := allocate(t, p, "one")
	p.Release("one")
	for range 4 {
		if got := allocate(t, p, "x"); got == one {
			t.Fatalf("%s came back although others are free", one)
		}
	}
	if got := allocate(t, p, "x"); got != one {
		t.Errorf("wrap-around gives %s, want %s", got, one)
	}
}

func TestReserve(t *testing.T) {
	p := pool(t, "10.0.0.0/24")
	for addr, want := range map[string]error{
		"10.0.0.9":   nil,
		"10.0.1.9":   lifecycle.ErrInvalid,
		"10.0.0.0":   lifecycle.ErrInvalid,
		"10.0.0.1":   lifecycle.ErrInvalid,
		"10.0.0.255": lifecycle.ErrInvalid,
		"fd00::9":    lifecycle.ErrInvalid,
	} {
		if err := p.Reserve(netip.MustParseAddr(addr), "a"); !errors.Is(err, want) {
			t.Errorf("reserve %s: %v, want %v", addr, err, want)
		}
	}
	if err := p.Reserve(netip.MustParseAddr("10.0.0.9"), "a"); err != nil {
		t.Error("again by the same owner:", err)
	}
	if err := p.Reserve(netip.MustParseAddr("10.0.0.9"), "b"); !errors.Is(err, lifecycle.ErrExists) {
		t.Errorf("by another: %v, want exists", err)
	}
	if got := allocate(t, p, "b"); got != "10.0.0.10" {
		t.Errorf("after a reservation %s is given, want the one behind it", got)
	}
}

func TestWideSubnet(t *testing.T) {
	p := pool(t, "fd00::/48")
	if a, b := allocate(t, p, "a"), allocate(t, p, "b"); a != "fd00::2" || b != "fd00::3" {
		t.Errorf("%s, %s", a, b)
	}
	if err := p.Reserve(netip.MustParseAddr("fd00::ffff:ffff:ffff:ffff"), "z"); err != nil {
		t.Error(err)
	}
	if got := allocate(t, p, "c"); got != "fd00::4" {
		t.Errorf("after the last address: %s, want a wrap to the first free one", got)
	}
}

func TestParallel(t *testing.T) {
	p := pool(t, "10.0.0.0/20")
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				a, err := p.Allocate("x")
				mu.Lock()
				if err != nil || seen[a.String()] {
					t.Errorf("%s, %v", a, err)
				}
				seen[a.String()] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
