// Package kerneltest balances a machine's books around a test: what the test made in
// the kernel (mounts, cgroups, links, processes, descriptors) must be gone when it ends.
// It is for tests only, and looks only at what the Scope claims, since packages' tests
// run side by side.
package kerneltest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Scope says what belongs to the test.
type Scope struct {
	Dirs  []string                   // mounts at or below these
	Name  string                     // cgroups and links whose names contain it; "" = none
	Extra map[string]func() []string // further books, by name: "nft", "addresses"
}

// NeedRoot skips the test, saying why, where it cannot run.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes namespaces, mounts and cgroups")
	}
}

// Balance takes the books now and compares them when the test ends; a difference that
// stays for five seconds fails it. The test process becomes a subreaper, so that no
// process it caused can leave its sight.
func Balance(t testing.TB, s Scope) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatalf("become a subreaper: %v", err)
	}
	before := s.take()
	t.Cleanup(func() {
		deadline := time.Now().Add(5 * time.Second)
		for {
			diff := compare(before, s.take())
			if len(diff) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("left behind:\n  %s", strings.Join(diff, "\n  "))
				return
			}
			reapZombies()
			time.Sleep(20 * time.Millisecond) // polling the kernel: there is no event for "all gone"
		}
	})
}

func (s Scope) take() map[string][]string {
	b := map[string][]string{
		"mount":      s.mounts(),
		"cgroup":     s.cgroups(),
		"link":       s.links(),
		"process":    descendants(os.Getpid()),
		"descriptor": descriptors(),
	}
	for name, f := range s.Extra {
		b[name] = f()
	}
	return b
}

func compare(before, after map[string][]string) []string {
	var diff []string
	for name, now := range after {
		for _, e := range now {
			if !slices.ContainsFunc(before[name], func(was string) bool { return same(name, was, e) }) {
				diff = append(diff, name+": "+e)
			}
		}
	}
	slices.Sort(diff)
	return diff
}

// same tells whether two entries of one book are the same thing: a process by its pid alone, since its state and
// its name change while it lives.
func same(book, was, is string) bool {
	if book == "process" {
		was, _, _ = strings.Cut(was, " ")
		is, _, _ = strings.Cut(is, " ")
	}
	return was == is
}

func (s Scope) mounts() []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var out []string
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		for _, d := range s.Dirs {
			if f[4] == d || strings.HasPrefix(f[4], strings.TrimSuffix(d, "/")+"/") {
				out = append(out, f[4])
			}
		}
	}
	return out
}

func (s Scope) cgroups() []string {
	if s.Name == "" {
		return nil
	}
	var out []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), s.Name) {
			out = append(out, p)
			return filepath.SkipDir
		}
		return nil
	})
	return out
}

func (s Scope) links() []string {
	if s.Name == "" {
		return nil
	}
	var out []string
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		if strings.Contains(i.Name, s.Name) {
			out = append(out, i.Name)
		}
	}
	return out
}

func descriptors() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var out []string
	for _, e := range entries {
		l, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(l, "/proc/") || strings.HasPrefix(l, "anon_inode:[event") {
			continue // this listing itself; the Go runtime's poller
		}
		out = append(out, e.Name()+" → "+l)
	}
	return out
}

// descendants lists the processes below pid as "PID comm (state)".
func descendants(pid int) []string {
	children := map[string][]string{}
	label := map[string]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		data, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		open, end := strings.IndexByte(string(data), '('), strings.LastIndexByte(string(data), ')')
		if open < 0 || end < 0 {
			continue
		}
		rest := strings.Fields(string(data[end+1:]))
		if len(rest) < 2 {
			continue
		}
		children[rest[1]] = append(children[rest[1]], e.Name())
		label[e.Name()] = fmt.Sprintf("%s %s (%s)", e.Name(), data[open+1:end], rest[0])
	}
	var out []string
	queue := []string{fmt.Sprint(pid)}
	for len(queue) > 0 {
		next := children[queue[0]]
		queue = append(queue[1:], next...)
		for _, c := range next {
			out = append(out, label[c])
		}
	}
	return out
}

// reapZombies collects orphans that came to this process as subreaper; os/exec waits for
// its own children by pid and is not disturbed once the test is over.
func reapZombies() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
			return
		}
	}
}
