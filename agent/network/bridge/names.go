package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

const maxName = 15 // IFNAMSIZ without its NUL

// prefix starts the names of an agent's host-side links. The hyphen keeps the default
// agent's apart from a tagged one's: tags are hexadecimal.
func prefix(tag string) string {
	if tag == "" {
		return "sw-"
	}
	return "sw" + tag
}

// linkName is the n-th name to try for the pod's host-side link: the start of its ID,
// so that people recognise it, and a digest of it when that name is another pod's.
func linkName(tag, podID string, n int) string {
	p := prefix(tag)
	room := maxName - len(p)
	if n == 0 && len(podID) >= room && !strings.ContainsFunc(podID[:room], odd) {
		return p + podID[:room]
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", podID, n))
	return p + hex.EncodeToString(sum[:])[:room]
}

func odd(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') }

// owned tells whether a link's name is one that linkName gives with this tag.
func owned(tag, name string) bool {
	return len(name) == maxName && strings.HasPrefix(name, prefix(tag))
}

// hardwareAddr derives a locally administered address from an IP address, so that an
// address that comes back later never meets a stale neighbour entry. side tells the two
// ends of a pair apart; the bridge's own is the pod side of its gateway.
func hardwareAddr(side byte, ip netip.Addr) net.HardwareAddr {
	b := ip.As16()
	return net.HardwareAddr{side, 0x53, b[12], b[13], b[14], b[15]}
}

const (
	podSide  = 0x0a
	hostSide = 0x0e
)
