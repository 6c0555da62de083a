package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix" // ESRCH: the process has ended

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// SetOOMScore sets the oom_score_adj of a process (proc_pid_oom_score_adj(5)), and with it of what the process
// starts from then on; its other processes keep theirs. It returns the one before.
// lifecycle.ErrState where the process has ended.
func SetOOMScore(pid, adj int) (before int, err error) {
	f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", os.O_RDWR, 0)
	if err == nil {
		defer f.Close()
		before, err = swapScore(f, adj)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("process %d has ended: %w", pid, lifecycle.ErrState)
	}
	return before, err
}

func swapScore(f *os.File, adj int) (before int, err error) {
	buf := make([]byte, 16)
	n, err := f.Read(buf)
	if err != nil {
		return 0, err
	}
	if before, err = strconv.Atoi(strings.TrimSpace(string(buf[:n]))); err != nil || before == adj {
		return before, err
	}
	_, err = f.WriteAt([]byte(strconv.Itoa(adj)), 0)
	return before, err
}
