package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/nftables"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/network"
	"github.com/slipway-cri/slipway/agent/network/networktest"
)

func TestMain(m *testing.M) { networktest.Main(m) }

func newTable(t *testing.T) *Table {
	t.Helper()
	networktest.Balance(t, "")
	tab := New(Config{
		Table: "slipway-hptest", Bridge: "slipway-hptest", Masquerade: true,
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("fd09::/64")},
	})
	t.Cleanup(func() {
		if err := errors.Join(tab.Delete(), tab.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := tab.Ensure(); err != nil {
		t.Fatal(err)
	}
	return tab
}

// elements lists what the kernel has in the four maps.
func elements(t *testing.T, tab *Table) []string {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range tab.sets(tab.table()) {
		els, err := conn.GetSetElements(s)
		if err != nil {
			t.Fatalf("map %s: %v", s.Name, err)
		}
		for _, e := range els {
			out = append(out, fmt.Sprintf("%s %x %x", s.Name, e.Key, e.Val))
		}
	}
	slices.Sort(out)
	return out
}

var all = []network.PortMapping{
	mapping("tcp", "", 8080, 80), mapping("udp", "", 8053, 53), mapping("sctp", "", 9000, 9000),
	mapping("tcp", "127.0.0.1", 8081, 81), mapping("tcp", "2001:db8::1", 8082, 82),
}

func flush(t *testing.T) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	conn.FlushRuleset() // of the test's own network namespace
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestElementsComeAndGo(t *testing.T) {
	tab := newTable(t)
	if err := tab.Add("one", both, all); err != nil {
		t.Fatal(err)
	}
	if got := elements(t, tab); len(got) != 8 {
		t.Errorf("%d elements, want 8: %v", len(got), got)
	}
	if err := tab.Has("one"); err != nil {
		t.Error(err)
	}
	other := []netip.Addr{netip.MustParseAddr("10.9.0.3"), netip.MustParseAddr("fd09::3")}
	// One port is free, the other is not: neither is set.
	err := tab.Add("two", other, []network.PortMapping{mapping("tcp", "", 7000, 70), mapping("tcp", "", 8080, 80)})
	if !errors.Is(err, lifecycle.ErrExhausted) {
		t.Errorf("a taken port: %v, want exhausted", err)
	}
	if got := elements(t, tab); len(got) != 8 {
		t.Errorf("%d elements after a refusal, want 8", len(got))
	}
	for range 2 {
		if err := tab.Remove("one"); err != nil {
			t.Fatal(err)
		}
	}
	if got := elements(t, tab); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	if err := tab.Add("two", other, all); err != nil {
		t.Error("freed ports:", err)
	}
}

// TestTableTakenAway: a firewall that reloads flushes the whole ruleset.
func TestTableTakenAway(t *testing.T) {
	tab := newTable(t)
	if err := tab.Add("one", both, all); err != nil {
		t.Fatal(err)
	}
	flush(t)
	if err := tab.Has("one"); err == nil {
		t.Error("Has finds elements of a table that is gone")
	}
	if err := tab.Ensure(); err != nil {
		t.Fatal(err)
	}
	if err := tab.Has("one"); err != nil {
		t.Error("after Ensure:", err)
	}
	flush(t)
	other := []netip.Addr{netip.MustParseAddr("10.9.0.3")}
	if err := tab.Add("two", other, []network.PortMapping{mapping("tcp", "", 1, 1)}); err != nil {
		t.Fatal("Add without a table:", err)
	}
	if err := errors.Join(tab.Has("one"), tab.Has("two")); err != nil {
		t.Error("after Add:", err)
	}
	flush(t)
	if err := tab.Remove("one"); err != nil {
		t.Fatal("Remove without a table:", err)
	}
	if got := elements(t, tab); len(got) != 1 {
		t.Errorf("after Remove: %v, want the other pod's element", got)
	}
}

func TestReset(t *testing.T) {
	tab := newTable(t)
	if err := tab.Add("gone", both, all); err != nil {
		t.Fatal(err)
	}
	again := New(tab.c)
	t.Cleanup(func() { _ = again.Close() })
	one := []network.PortMapping{mapping("tcp", "0.0.0.0", 1, 1)}
	refused, err := again.Reset([]Pod{{"a", both, one}, {"b", both, one}})
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) != 1 || refused[0].PodID != "b" || !errors.Is(refused[0].Err, lifecycle.ErrExhausted) {
		t.Errorf("refused: %v", refused)
	}
	if got := elements(t, again); len(got) != 1 {
		t.Errorf("elements: %v, want one", got)
	}
	if err := again.Has("a"); err != nil {
		t.Error(err)
	}
}

// TestParallel: transactions of many pods at once, with the table made anew between them.
func TestParallel(t *testing.T) {
	tab := newTable(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprint("pod", i)
			addr := netip.AddrFrom4([4]byte{10, 9, 1, byte(i)})
			ports := []network.PortMapping{mapping("tcp", "", uint16(1000+i), 80)}
			for range 3 {
				if err := tab.Add(id, []netip.Addr{addr}, ports); err != nil {
					t.Error(err)
				}
				if i%5 == 0 {
					if err := tab.rebuild(); err != nil {
						t.Error(err)
					}
				}
				if err := tab.Remove(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := elements(t, tab); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}
