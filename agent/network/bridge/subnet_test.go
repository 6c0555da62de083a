package bridge

import (
	"net/netip"
	"strings"
	"testing"
)

func TestChooseSubnets(t *testing.T) {
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12")}
	seen := map[netip.Prefix]string{}
	same := 0
	for i := range 64 {
		tag := strings.Repeat("0", 5) + string(rune('0'+i))
		v4, err := choose4(tag, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v4.Bits() != 16 || !private[0].Overlaps(v4) && !private[1].Overlaps(v4) {
			t.Errorf("%s is no /16 of private space", v4)
		}
		for _, a := range avoided {
			if a.Overlaps(v4) {
				t.Errorf("%s is avoided space", v4)
			}
		}
		if seen[v4] != "" {
			same++
		}
		seen[v4] = tag
		if again, _ := choose4(tag, nil); again != v4 {
			t.Errorf("tag %s: %s, then %s", tag, v4, again)
		}
		next, err := choose4(tag, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.PrefixFrom(v4.Addr().Next(), 30)})
		if err != nil || next.Overlaps(v4) {
			t.Errorf("%s is routed, yet %s, %v", v4, next, err)
		}
	}
	if same > 20 {
		t.Errorf("%d of 64 tags get the subnet of another", same)
	}
	if _, err := choose4("", private); err == nil {
		t.Error("a subnet although all private space is routed")
	}
	if v4, err := choose4("", private[:1]); err != nil || !private[1].Overlaps(v4) {
		t.Errorf("without 10/8: %s, %v", v4, err)
	}
}

func TestChooseSubnet6(t *testing.T) {
	a, err := choose6("", nil)
	if err != nil || a.Bits() != 64 || a.Addr().As16()[0] != 0xfd {
		t.Fatalf("%s, %v: not a unique local /64", a, err)
	}
	if b, _ := choose6("abcdef", nil); b == a {
		t.Error("two tags share", a)
	}
	if c, err := choose6("", []netip.Prefix{a}); err != nil || c.Overlaps(a) {
		t.Errorf("%s is routed, yet %s, %v", a, c, err)
	}
}

func TestLinkNames(t *testing.T) {
	for _, c := range []struct{ tag, id, want string }{
		{"", "0123456789abcdef", "sw-0123456789ab"},
		{"abcdef", "0123456789abcdef", "swabcdef0123456"},
	} {
		if got := linkName(c.tag, c.id, 0); got != c.want {
			t.Errorf("tag %q: %s, want %s", c.tag, got, c.want)
		}
	}
	for _, id := range []string{"", "x", "UPPER/../case...", strings.Repeat("é", 20)} {
		for n := range 3 {
			name := linkName("abcdef", id, n)
			if !owned("abcdef", name) || owned("", name) || strings.ContainsFunc(name, odd) {
				t.Errorf("%q is not a good name for %q", name, id)
			}
		}
	}
	if owned("", "swabcdef0123456") || owned("abcdef", "sw-0123456789ab") || owned("", "sw-short") {
		t.Error("one agent's links are taken for another's")
	}
}

// TestNameServersKeepTheirRoute: a name server behind the default route has no route of its own.
func TestNameServersKeepTheirRoute(t *testing.T) {
	v4, err := choose4("", nil)
	if err != nil {
		t.Fatal(err)
	}
	v6, err := choose6("", nil)
	if err != nil {
		t.Fatal(err)
	}
	conf := "# nameserver 192.0.2.1\nsearch example.org\n nameserver\t" + v4.Addr().Next().String() +
		"\nnameserver " + v6.Addr().Next().String() + "%eth0\nnameserver nonsense\nnameserver\n"
	taken := resolvers([]byte(conf))
	if len(taken) != 2 {
		t.Fatalf("name servers %v", taken)
	}
	if got, err := choose4("", taken); err != nil || got.Overlaps(v4) {
		t.Errorf("%s has a name server, yet %s, %v", v4, got, err)
	}
	if got, err := choose6("", taken); err != nil || got.Overlaps(v6) {
		t.Errorf("%s has a name server, yet %s, %v", v6, got, err)
	}
}
