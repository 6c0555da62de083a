// Package check judges this machine for people: each thing that Slipway uses, whether it
// is there, and what its absence costs. It only asks oci/kernel/probe and reads a few files; it changes
// nothing, and needs no running agent. No locks.
package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix" // numbers of capabilities

	"github.com/slipway-cri/slipway/agent/config"
	"github.com/slipway-cri/slipway/oci/kernel/probe"
)

// State of one item.
type State string

// OK is there; Limited is missing and something is lost; Missing stops the agent.
const (
	OK      State = "ok"
	Limited State = "limited"
	Missing State = "missing"
)

// Item is one line of the judgement.
type Item struct {
	Name  string
	State State
	Found string `json:",omitempty"` // what is there
	Cost  string `json:",omitempty"` // what its absence costs, or what to do
}

// Ready tells whether an agent can run: nothing is Missing.
func Ready(items []Item) bool {
	return !slices.ContainsFunc(items, func(i Item) bool { return i.State == Missing })
}

// Node judges the machine for an agent with this configuration.
func Node(c config.Config) []Item {
	return slices.Concat(kernel(probe.Get()), machine("/", c))
}

// kernel judges what was probed. Pure.
func kernel(f probe.Features) []Item {
	items := []Item{{Name: "kernel", State: OK, Found: f.Release}}
	for _, m := range f.Missing() {
		items = append(items, Item{Name: m, State: Missing, Cost: "no container can be made; Linux 5.14 has it"})
	}
	have := func(name string, ok bool, found, cost string) {
		i := Item{Name: name, State: OK, Found: found}
		if !ok {
			i = Item{Name: name, State: Limited, Cost: cost}
		}
		items = append(items, i)
	}
	have("cgroup v2", f.Cgroup == probe.CgroupV2, "", string(f.Cgroup)+
		" cgroups: no pressure figures, no unified limits; newer kubelets want failCgroupV1: false")
	for _, name := range []string{"cpu", "cpuset", "memory", "pids", "hugetlb"} {
		have("cgroup controller "+name, slices.Contains(f.Controllers, name), "", "limits of this kind are errors, and its figures are not there")
	}
	have("clone into a cgroup", f.CloneIntoCgroup, "", "processes move into their cgroup after the clone")
	have("cgroup namespaces", f.CgroupNS, "", "containers see the node's cgroup paths")
	have("user namespaces", f.UserNS, "", "pods with hostUsers: false cannot run")
	have("exit codes of others' children", f.PidfdGetInfo, "", "Linux 6.15 has it: an exit while agent and monitor are both down is reported as 255, Unknown")
	have("seccomp", f.Seccomp, strings.Join(f.SeccompActions, " "), "containers run unfiltered, and profiles are errors")
	have("AppArmor", f.AppArmor, "", "pods that name a profile are refused")
	have("SELinux", f.SELinux, "", "labels are ignored")
	have("CAP_SYS_RESOURCE", f.Bounding>>unix.CAP_SYS_RESOURCE&1 == 1, "",
		"negative oom_score_adj values are clamped, rlimits cannot be raised")
	for _, c := range []struct {
		name string
		bit  uint
	}{{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT}, {"CAP_MKNOD", unix.CAP_MKNOD}} {
		if f.Bounding>>c.bit&1 == 0 {
			items = append(items, Item{Name: c.name, State: Missing, Cost: "run the agent as root with all capabilities"})
		}
	}
	return items
}

// machine judges the files below root, "/" but in tests.
func machine(root string, c config.Config) []Item {
	var items []Item
	add := func(name string, state State, found, cost string) {
		items = append(items, Item{name, state, found, cost})
	}
	if os.Geteuid() == 0 {
		add("root", OK, "", "")
	} else {
		add("root", Missing, "", "the agent must run as root")
	}
	for _, key := range []struct{ name, file, cost string }{
		{"IPv4 forwarding", "net/ipv4/ip_forward", "the agent turns it on for its bridge"},
		{"IPv6 forwarding", "net/ipv6/conf/all/forwarding", "the agent turns it on for its bridge where IPv6 is used"},
	} {
		switch b, err := os.ReadFile(filepath.Join(root, "proc/sys", key.file)); {
		case errors.Is(err, fs.ErrNotExist):
			add(key.name, Limited, "", "this kernel has no such protocol")
		case err != nil:
			add(key.name, Limited, "", err.Error())
		case strings.TrimSpace(string(b)) == "0":
			add(key.name, Limited, "off", key.cost)
		default:
			add(key.name, OK, "on", "")
		}
	}
	items = append(items, cni(root, c))
	for _, dir := range []struct{ name, path string }{{"root directory", c.Root}, {"state directory", c.State}} {
		add(dir.name, OK, dir.path, "")
		st, err := os.Stat(filepath.Join(root, dir.path))
		last := &items[len(items)-1]
		switch {
		case errors.Is(err, fs.ErrNotExist):
			last.Found += " (is made at the first start)"
		case err != nil:
			last.State, last.Cost = Missing, err.Error()
		case !st.IsDir():
			last.State, last.Cost = Missing, "is no directory"
		case st.Mode().Perm()&0o077 != 0:
			last.State, last.Cost = Limited, fmt.Sprintf("mode %04o lets others in; the agent makes it 0700", st.Mode().Perm())
		}
	}
	return items
}

func cni(root string, c config.Config) Item {
	i := Item{Name: "pod network", State: OK, Found: "built-in bridge"}
	if c.Network.Driver == "bridge" || c.Network.CNIConfDir == config.None {
		return i
	}
	var found []string
	for _, pattern := range []string{"*.conflist", "*.conf", "*.json"} {
		list, _ := filepath.Glob(filepath.Join(root, c.Network.CNIConfDir, pattern)) // only a bad pattern is an error
		found = append(found, list...)
	}
	if len(found) == 0 {
		return i
	}
	i.Found = "CNI, " + filepath.Base(found[0])
	for _, dir := range c.Network.CNIBinDirs {
		if entries, err := os.ReadDir(filepath.Join(root, dir)); err == nil && len(entries) > 0 {
			return i
		}
	}
	i.State, i.Cost = Missing, "no plugin in "+strings.Join(c.Network.CNIBinDirs, ", ")+"; or set network.driver to bridge"
	return i
}
