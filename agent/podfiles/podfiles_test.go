package podfiles

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestResolvConf(t *testing.T) {
	host := []byte("nameserver 192.0.2.1\n")
	for name, tc := range map[string]struct {
		dns  *runtimeapi.DNSConfig
		want string
	}{
		"nil":   {nil, string(host)},
		"empty": {&runtimeapi.DNSConfig{}, string(host)},
		"all": {&runtimeapi.DNSConfig{
			Servers: []string{"10.96.0.10", "fd00::a"}, Searches: []string{"default.svc.cluster.local", "cluster.local"},
			Options: []string{"ndots:5", "rotate"},
		}, "search default.svc.cluster.local cluster.local\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5 rotate\n"},
		"servers": {&runtimeapi.DNSConfig{Servers: []string{"fe80::1%eth0"}}, "nameserver fe80::1%eth0\n"},
	} {
		got, err := ResolvConf(tc.dns, host)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(tc.want, string(got)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestResolvConfRefuses(t *testing.T) {
	for name, dns := range map[string]*runtimeapi.DNSConfig{
		"server name":    {Servers: []string{"dns.example"}},
		"server newline": {Servers: []string{"10.0.0.1\nnameserver 6.6.6.6"}},
		"zone newline":   {Servers: []string{"fe80::1%e\nx"}},
		"search newline": {Searches: []string{"a\nnameserver 6.6.6.6"}},
		"search space":   {Searches: []string{"a b"}},
		"search empty":   {Searches: []string{""}},
		"option newline": {Options: []string{"ndots:5\n"}},
		"searches":       {Searches: slices.Repeat([]string{"a"}, maxSearches+1)},
		"long searches":  {Searches: slices.Repeat([]string{strings.Repeat("a", 100)}, 21)},
		"servers":        {Servers: slices.Repeat([]string{"10.0.0.1"}, maxServers+1)},
		"options":        {Options: slices.Repeat([]string{"o"}, maxOptions+1)},
	} {
		if got, err := ResolvConf(dns, nil); !errors.Is(err, lifecycle.ErrInvalid) || !strings.Contains(err.Error(), "dns_config.") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestHosts(t *testing.T) {
	got := string(Hosts("web-0", []netip.Addr{netip.MustParseAddr("10.88.0.2"), netip.MustParseAddr("fd00::2")}))
	for _, line := range []string{"127.0.0.1\tlocalhost\n", "::1\tlocalhost", "10.88.0.2\tweb-0\n", "fd00::2\tweb-0\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	if got := string(Hosts("web-0", nil)); !strings.HasSuffix(got, "127.0.1.1\tweb-0\n") {
		t.Errorf("without an address:\n%s", got)
	}
}

func TestHostname(t *testing.T) {
	for _, name := range []string{"a", "web-0", "Web.Example.ORG", "0", strings.Repeat("a", 63)} {
		if got, err := Hostname(name); err != nil || string(got) != name+"\n" {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{
		"", "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "a\n", "ä", strings.Repeat("a", 64), strings.Repeat("a.", 33) + "a",
	} {
		if err := CheckHostname(name); !errors.Is(err, lifecycle.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
