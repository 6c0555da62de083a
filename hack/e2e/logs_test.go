package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// numbered reads lines "word N" with N from 1 up out of log files, in order and each once, and returns the last N.
func numbered(t testing.TB, files ...string) int {
	t.Helper()
	last := 0
	for _, f := range files {
		for _, l := range readLog(t, f) {
			_, number, _ := strings.Cut(l.text, " ")
			if i, err := strconv.Atoi(number); err != nil || i != last+1 || l.tag != "F" {
				t.Fatalf("%s: line %q (%s) after number %d", f, l.text, l.tag, last)
			}
			last++
		}
	}
	return last
}

// Rotation as kubelet does it: rename, then ReopenContainerLog, while the program writes as fast as it can.
func TestLogRotation(t *testing.T) {
	const lines = 60_000
	n := startNode(t)
	n.pull()
	c := n.runPod("logs", nil).run("c", []string{"sh", "-c",
		fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "line $i"; done`, lines)}, nil)
	var files []string
	for i := range 4 {
		eventually(t, "something in the log", func() bool {
			info, err := os.Stat(c.log)
			return err == nil && info.Size() > 0
		})
		rotated := fmt.Sprintf("%s.%d", c.log, i)
		if err := os.Rename(c.log, rotated); err != nil {
			t.Fatal(err)
		}
		files = append(files, rotated)
		if _, err := n.runtime.ReopenContainerLog(n.ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: c.id}); err != nil {
			t.Fatalf("ReopenContainerLog: %v", err)
		}
		if _, err := os.Stat(c.log); err != nil {
			t.Errorf("after the reopening: %v", err)
		}
	}
	if s := c.exit(); s.ExitCode != 0 {
		t.Errorf("ended with %d, %s", s.ExitCode, s.Reason)
	}
	if got := numbered(t, append(files, c.log)...); got != lines {
		t.Errorf("%d lines in the %d files, want %d", got, len(files)+1, lines)
	}
}

// Output beyond a line's length is kept whole, in parts; bytes stay what they are.
func TestLogLongLines(t *testing.T) {
	n := startNode(t)
	n.pull()
	c := n.runPod("long", nil).run("c", []string{"sh", "-c", `head -c 100000 /dev/zero | tr '\0' x; echo; printf '\303\244\001 \n'; printf end`}, nil)
	c.exit()
	if got, want := c.output(), strings.Repeat("x", 100000)+"\n\u00e4\x01 \nend"; got != want {
		t.Errorf("%d bytes of output, want %d; end %q", len(got), len(want), got[max(0, len(got)-20):])
	}
}
