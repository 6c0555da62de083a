package runtime

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestDevicesAreRefused: a container that may make any node opens only those that its
// rules allow, by devices.allow on v1 and by a filter program on v2.
func TestDevicesAreRefused(t *testing.T) {
	n := newNode(t)
	s, box := n.pod("p1", false)
	c := n.container("c1", s, box, `
busybox mknod /tmp/null c 1 3 && echo x > /tmp/null && echo null is open
busybox mknod /tmp/mem c 1 1 && busybox dd if=/tmp/mem of=/dev/null count=1 2>&1
exit 0`)
	caps := []string{"CAP_MKNOD", "CAP_DAC_OVERRIDE"}
	c.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
	n.run(c)
	if e := n.exit(); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	log, err := os.ReadFile(c.LogPath)
	if err != nil || !strings.Contains(string(log), "null is open") || !strings.Contains(string(log), "/tmp/mem': Operation not permitted") {
		t.Errorf("log %q, %v", log, err)
	}
	n.remove(s, c)
}
