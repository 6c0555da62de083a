package monitor

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/oci/initconf"
)

// TestOOMScore: whether the monitor may lower its own score or not, its children have
// what they would have without it, or what their configuration says.
func TestOOMScore(t *testing.T) {
	n := newNode(t)
	mine, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", n.client.Pid()))
	t.Logf("the monitor's score is %q, %v", own, err)
	n.create("c1", "busybox cat /proc/self/oom_score_adj")
	n.create("c2", "busybox cat /proc/self/oom_score_adj; exec busybox sleep 1000",
		func(_ *LaunchRequest, c *initconf.Config) { c.HasOOMScoreAdj, c.OOMScoreAdj = true, 500 })
	n.start("c1")
	n.exit("c1")
	if got := n.log("c1", "stdout"); got != string(mine) {
		t.Errorf("score %q, want %q", got, mine)
	}
	n.start("c2")
	n.await("c2's score", func() bool { return n.log("c2", "stdout") == "500\n" })
	if string(own) == string(mine) {
		return // an exec inherits the monitor's score, which is everybody's
	}
	r, err := n.exec("e1", "c2", "busybox cat /proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if out, _ := io.ReadAll(r); string(out) != "500\n" {
		t.Errorf("the exec's score is %q", out)
	}
}

// memory is the monitor's resident memory that is its own, in KiB.
func (n *node) memory() (anonymous, all int) {
	n.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.client.Pid()))
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "RssAnon: %d", &anonymous)
		_, _ = fmt.Sscanf(line, "VmRSS: %d", &all)
	}
	return anonymous, all
}

// TestFootprint: idle containers cost the monitor next to nothing.
func TestFootprint(t *testing.T) {
	n := newNode(t)
	_, idle := n.memory()
	const count = 100
	for i := range count {
		id := fmt.Sprintf("c%d", i)
		n.create(id, "echo hello; exec busybox sleep 1000")
		n.start(id)
	}
	anonymous, all := n.memory()
	each := (all - idle) / count
	t.Logf("idle %d KiB, with %d containers %d KiB (anonymous %d): %d KiB each", idle, count, all, anonymous, each)
	if each > 48 && !raceDetector { // which has memory of its own for all memory
		t.Errorf("%d KiB a container", each)
	}
	if os.Getenv("SLIPWAY_TEST_BIN") != "" && idle > 8<<10 {
		t.Errorf("%d KiB idle", idle)
	}
}
