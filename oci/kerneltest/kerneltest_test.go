package kerneltest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestProcessesByPid: a process that sleeps now and ran before is no new one; another pid is.
func TestProcessesByPid(t *testing.T) {
	before := map[string][]string{"process": {"17 init (R)"}, "link": {"a 1"}}
	if diff := compare(before, map[string][]string{"process": {"17 sleep (S)"}}); len(diff) != 0 {
		t.Errorf("the same process: %v", diff)
	}
	after := map[string][]string{"process": {"17 sleep (S)", "18 init (R)"}, "link": {"a 2"}}
	if diff := compare(before, after); !slices.Equal(diff, []string{"link: a 2", "process: 18 init (R)"}) {
		t.Errorf("difference %v", diff)
	}
}

// TestDescendants finds a child of this process by its pid.
func TestDescendants(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	before := map[string][]string{}
	found := compare(before, map[string][]string{"process": descendants(cmd.Process.Pid)})
	if len(found) != 0 {
		t.Errorf("cat has children: %v", found)
	}
	mine := descendants(os.Getpid())
	if !slices.ContainsFunc(mine, func(p string) bool { return strings.HasPrefix(p, fmt.Sprintf("%d ", cmd.Process.Pid)) }) {
		t.Errorf("%d is not among %v", cmd.Process.Pid, mine)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
