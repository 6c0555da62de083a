// Package layout knows where everything that one agent touches is, and the names it
// gives to links and cgroups, all derived from its two directories, so that several
// agents live side by side on one machine. It makes nothing.
package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// Default directories and socket.
const (
	DefaultRoot  = "/var/lib/slipway" // images, container layers, records
	DefaultState = "/run/slipway"     // sockets, namespace pins, live state
)

// Layout is one agent's place on the machine.
type Layout struct {
	Root  string // images, container layers, records; survives a reboot
	State string // sockets, namespace pins, exit records; does not
	// Tag is "" for the default directories and six hex digits derived from both otherwise.
	Tag string
}

// New cleans the paths (both absolute) and derives the tag.
func New(root, state string) Layout {
	root, state = filepath.Clean(root), filepath.Clean(state)
	l := Layout{Root: root, State: state}
	if root != DefaultRoot || state != DefaultState {
		sum := sha256.Sum256([]byte(root + "\x00" + state))
		l.Tag = hex.EncodeToString(sum[:3])
	}
	return l
}

func (l Layout) name(base, sep string) string {
	if l.Tag == "" {
		return base
	}
	return base + sep + l.Tag
}

// Socket is the default path of the CRI socket.
func (l Layout) Socket() string { return filepath.Join(l.State, "slipway.sock") }

// NRISocket is where NRI plugins connect by default: the field's path, which one runtime of a node can have, or
// one of the agent's own.
func (l Layout) NRISocket() string {
	if l.Tag == "" {
		return "/var/run/nri/nri.sock"
	}
	return filepath.Join(l.State, "nri.sock")
}

// MonitorSocket is the monitor's path socket; MonitorLog its log file.
func (l Layout) MonitorSocket() string { return filepath.Join(l.State, "monitor.sock") }
func (l Layout) MonitorLog() string    { return filepath.Join(l.State, "monitor.log") }

// ExitDir holds the exit records of processes, one file an id.
func (l Layout) ExitDir() string { return filepath.Join(l.State, "exits") }

// PodRecords and ContainerRecords hold one directory an id, with its record in it.
func (l Layout) PodRecords() string       { return filepath.Join(l.Root, "pods") }
func (l Layout) ContainerRecords() string { return filepath.Join(l.Root, "containers") }

// PodState is the pod's live state: ns/ pins, shm, resolv.conf, hostname, hosts.
func (l Layout) PodState(id string) string { return filepath.Join(l.State, "pods", id) }

// ContainerDir holds a container's record and its overlay directories upper and work.
func (l Layout) ContainerDir(id string) string { return filepath.Join(l.ContainerRecords(), id) }

// Images is the root of the image store.
func (l Layout) Images() string { return filepath.Join(l.Root, "images") }

// Bridge is the name of the built-in network's bridge (at most 15 bytes).
func (l Layout) Bridge() string { return l.name("slipway", "-") }

// NFTable is the name of the agent's nftables tables.
func (l Layout) NFTable() string { return l.name("slipway", "-") }

// CgroupParent is where pods without a cgroup_parent go.
func (l Layout) CgroupParent() string { return "/" + l.name("slipway", "-") }
