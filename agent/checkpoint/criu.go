package checkpoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Criu is the criu program (criu(8)).
type Criu struct{ Path string }

// Find looks criu up in PATH; lifecycle.ErrState, with the package to install, where it is not.
func Find() (Criu, error) {
	path, err := exec.LookPath("criu")
	if err != nil {
		return Criu{}, fmt.Errorf("checkpoints need criu: install the package \"criu\": %w: %w", err, lifecycle.ErrState)
	}
	return Criu{path}, nil
}

// Check asks criu whether this kernel has what it needs; lifecycle.ErrState with criu's own words if not.
func (c Criu) Check(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, c.Path, "check").CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("criu check: %w", ctx.Err())
	}
	return fmt.Errorf("criu cannot work on this kernel: %w%s: %w", err, complaint(string(out)), lifecycle.ErrState)
}

// Dump says what is captured.
type Dump struct {
	Pid    int    // of the root of the tree, in the node's PID namespace
	Images string // directory for criu's images, which exists and is empty
	Work   string // directory for dump.log
	Freeze string // the container's freezer cgroup directory, "" where criu is to stop the tasks itself
	// Network is the inode of a network namespace that is not the container's own, 0 for none.
	Network uint64
}

// args leave the tree running: whether it ends is for the caller to say, who knows whether all others were captured.
func (d Dump) args() []string {
	a := []string{
		"dump", "--tree", strconv.Itoa(d.Pid), "--images-dir", d.Images, "--work-dir", d.Work, "--log-file", "dump.log",
		"--leave-running", "--manage-cgroups=ignore", "--tcp-established", "--file-locks", "--external", "mnt[]:ms",
	}
	if d.Freeze != "" {
		a = append(a, "--freeze-cgroup", d.Freeze)
	}
	if d.Network != 0 {
		a = append(a, "--external", fmt.Sprintf("net[%d]:pod", d.Network))
	}
	return a
}

// Dump captures a tree. It is killed when ctx ends, which is lifecycle.ErrTimeout at the deadline.
func (c Criu) Dump(ctx context.Context, d Dump) error {
	out, err := exec.CommandContext(ctx, c.Path, d.args()...).CombinedOutput()
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("criu dump of process %d: %w", d.Pid, lifecycle.ErrTimeout)
	case ctx.Err() != nil:
		return fmt.Errorf("criu dump of process %d: %w", d.Pid, ctx.Err())
	}
	said := complaint(string(out))
	if log, e := os.ReadFile(filepath.Join(d.Work, "dump.log")); e == nil {
		if s := complaint(string(log)); s != "" {
			said = s
		}
	}
	return fmt.Errorf("criu dump of process %d: %w%s: %w", d.Pid, err, said, lifecycle.ErrState)
}

// complaint is the first line of criu's that says Error: those after it are what followed from it.
func complaint(text string) string {
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if _, said, ok := strings.Cut(lines.Text(), "Error ("); ok {
			return ": (" + said
		}
	}
	return ""
}
