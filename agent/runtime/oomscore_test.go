package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func TestSetOOMScore(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid)
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Raising is allowed to everybody.
	before, err := SetOOMScore(cmd.Process.Pid, 777)
	if err != nil || fmt.Sprint(before) != strings.TrimSpace(string(old)) {
		t.Errorf("before: %d %v, want %s", before, err, old)
	}
	if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != "777" {
		t.Errorf("after: %s %v", got, err)
	}
	if before, err := SetOOMScore(cmd.Process.Pid, 777); before != 777 || err != nil {
		t.Errorf("again: %d %v", before, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if _, err := SetOOMScore(cmd.Process.Pid, 778); !errors.Is(err, lifecycle.ErrState) {
		t.Errorf("ended: %v", err)
	}
}
