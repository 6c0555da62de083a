// Package podfiles renders a pod's /etc/resolv.conf, /etc/hosts and /etc/hostname. It is
// pure: it reads and writes no file; the pods package does. The kubelet mounts its own
// /etc/hosts over ours; crictl and the client verbs do not.
package podfiles

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Limits on a DNSConfig: Kubernetes' own for searches, generous ones for the rest. C libraries
// read three servers and pass over more.
const (
	maxServers     = 16
	maxSearches    = 32
	maxSearchChars = 2048
	maxOptions     = 64
)

// MaxHostname is the kernel's limit on a host name in bytes (uname(2)).
const MaxHostname = 64

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), lifecycle.ErrInvalid)
}

// ResolvConf renders resolv.conf(5). A nil or empty config takes the node's file, host, as
// it is. Errors wrap lifecycle.ErrInvalid and name the field.
func ResolvConf(dns *runtimeapi.DNSConfig, host []byte) ([]byte, error) {
	servers, searches, options := dns.GetServers(), dns.GetSearches(), dns.GetOptions()
	if len(servers)+len(searches)+len(options) == 0 {
		return bytes.Clone(host), nil
	}
	switch {
	case len(servers) > maxServers:
		return nil, invalid("dns_config.servers", "%d, at most %d", len(servers), maxServers)
	case len(searches) > maxSearches:
		return nil, invalid("dns_config.searches", "%d, at most %d", len(searches), maxSearches)
	case len(options) > maxOptions:
		return nil, invalid("dns_config.options", "%d, at most %d", len(options), maxOptions)
	}
	var b strings.Builder
	if len(searches) > 0 {
		if err := words("dns_config.searches", searches); err != nil {
			return nil, err
		}
		list := strings.Join(searches, " ")
		if len(list) > maxSearchChars {
			return nil, invalid("dns_config.searches", "%d characters, at most %d", len(list), maxSearchChars)
		}
		b.WriteString("search " + list + "\n")
	}
	for _, s := range servers {
		if _, err := netip.ParseAddr(s); err != nil || hasSpace(s) {
			return nil, invalid("dns_config.servers", "%q is no IP address", s)
		}
		b.WriteString("nameserver " + s + "\n")
	}
	if len(options) > 0 {
		if err := words("dns_config.options", options); err != nil {
			return nil, err
		}
		b.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	return []byte(b.String()), nil
}

// words refuses what would start a second word or line of resolv.conf.
func words(field string, list []string) error {
	for _, s := range list {
		if s == "" || hasSpace(s) {
			return invalid(field, "%q is not one printable word", s)
		}
	}
	return nil
}

func hasSpace(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// Hosts renders hosts(5): the loopback names and the pod's own at each of its addresses.
// A pod on the node's network has the node's file instead.
func Hosts(hostname string, ips []netip.Addr) []byte {
	var b strings.Builder
	b.WriteString("# Written by Slipway for this pod.\n" +
		"127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\n" +
		"ff00::\tip6-mcastprefix\n" +
		"ff02::1\tip6-allnodes\n" +
		"ff02::2\tip6-allrouters\n")
	if hostname == "" {
		return []byte(b.String())
	}
	if len(ips) == 0 {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", hostname)
	}
	for _, ip := range ips {
		fmt.Fprintf(&b, "%s\t%s\n", ip, hostname)
	}
	return []byte(b.String())
}

// Hostname renders hostname(5), after CheckHostname.
func Hostname(name string) ([]byte, error) {
	if err := CheckHostname(name); err != nil {
		return nil, err
	}
	return []byte(name + "\n"), nil
}

// CheckHostname takes dot-separated labels of RFC 1123 (letters, digits, inner hyphens, at
// most 63 bytes each) of MaxHostname bytes in all, which is what sethostname(2) takes.
func CheckHostname(name string) error {
	if name == "" || len(name) > MaxHostname {
		return invalid("hostname", "%q has %d bytes, not 1 to %d", name, len(name), MaxHostname)
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isHostRune(r) }) {
			return invalid("hostname", "%q: label %q is not as RFC 1123 has it", name, label)
		}
	}
	return nil
}

func isHostRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
}
