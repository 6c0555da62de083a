package plan

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/spec"
)

// printer writes one item a line, and none for what is empty.
type printer struct{ strings.Builder }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *printer) text(name, v string) {
	if v != "" {
		p.line("%s %s", name, v)
	}
}

func (p *printer) yes(name string, v bool) {
	if v {
		p.line("%s", name)
	}
}

// String is the plan as text, one item a line, in the order in which it is carried out.
func (p *Plan) String() string {
	w := &printer{}
	c := &p.Init
	w.text("clone", nsNames(uint32(p.CloneFlags)))
	idMapLines(w, "uid", p.UIDMap)
	idMapLines(w, "gid", p.GIDMap)
	w.text("born in", p.JoinUser)
	for _, j := range p.ParentJoins {
		w.line("join %s %s before", nsNames(j.Flag), j.Path)
	}
	w.yes("born in the target's user namespace", p.TargetUser)
	w.text("born in", p.JoinPID)
	w.yes("born in the target's pid namespace", p.TargetPID)
	w.text("cgroup", p.Cgroup)
	for _, path := range c.Cgroups {
		w.line("enter %s", path)
	}
	if c.HasOOMScoreAdj {
		w.line("oom_score_adj %d", c.OOMScoreAdj)
	}
	for _, j := range c.Joins {
		w.line("join %s %s", nsNames(j.Flag), j.Path)
	}
	w.text("join target's", nsNames(c.TargetFlags))
	w.text("unshare", nsNames(c.Unshare))
	w.yes("new session", c.NewSession)
	w.yes("new keyring", c.NewKeyring)
	w.text("hostname", c.Hostname)
	w.text("domainname", c.Domainname)
	for _, s := range c.Sysctls {
		w.line("sysctl %s = %s", s.Path, s.Value)
	}
	if c.Mode == initconf.ModeContainer {
		w.root(&c.Root)
	}
	for i := range c.Mounts {
		w.mount(&c.Mounts[i])
	}
	for _, d := range c.Devices {
		w.line("device %s %c %d:%d %04o %d:%d", d.Path, d.Type, d.Major, d.Minor, d.Mode, d.UID, d.GID)
	}
	w.yes("device links", c.DevSymlinks)
	for _, path := range c.MaskedPaths {
		w.line("mask %s", path)
	}
	for _, path := range c.ReadonlyPaths {
		w.line("readonly %s", path)
	}
	w.process(c)
	return w.String()
}

func (p *printer) root(r *initconf.Root) {
	ro := ""
	if r.Readonly {
		ro = " readonly"
	}
	if len(r.Lower) > 0 {
		p.line("root overlay%s lower %s in %s upper %s work %s", ro, strings.Join(r.Lower, ":"), r.LowerBase, r.Upper, r.Work)
		p.text("root options", r.OverlayOptions)
	} else {
		p.line("root bind%s %s", ro, r.Bind)
	}
	p.line("root propagation %s", flagNames(r.Propagation))
	p.text("root label", r.Label)
}

func (p *printer) mount(m *initconf.Mount) {
	p.line("mount %s %s on %s", m.Type, m.Source, m.Destination)
	p.text("  set", flagNames(m.Flags))
	p.text("  clear", flagNames(m.ClearFlags))
	for _, f := range m.Propagation {
		p.line("  propagation %s", flagNames(f))
	}
	if m.RecAttrSet|m.RecAttrClear != 0 {
		p.line("  below: set %#x clear %#x", m.RecAttrSet, m.RecAttrClear)
	}
	p.text("  data", m.Data)
	if len(m.Layers) > 0 {
		p.line("  layers %s in %s", strings.Join(m.Layers, ":"), m.LayerBase)
		p.text("  sub path", m.SubPath)
	}
	p.yes("  optional", m.Optional)
	p.yes("  cgroup view", m.CgroupView)
	p.yes("  ids mapped", m.Mapped)
	p.yes("  copy up", m.CopyUp)
}

func (p *printer) process(c *initconf.Config) {
	if c.Terminal {
		p.line("terminal %dx%d", c.ConsoleWidth, c.ConsoleHeight)
	}
	for _, l := range c.Rlimits {
		p.line("rlimit %s %d %d", spec.RlimitName(l.Resource), l.Soft, l.Hard)
	}
	k := c.Capabilities
	for _, set := range []struct {
		name string
		mask uint64
	}{{"bounding", k.Bounding}, {"effective", k.Effective}, {"permitted", k.Permitted}, {"inheritable", k.Inheritable}, {"ambient", k.Ambient}} {
		if set.mask == 0 {
			p.line("capabilities %s none", set.name)
			continue
		}
		p.line("capabilities %s %#x %s", set.name, set.mask, strings.Join(spec.CapabilityNames(set.mask), " "))
	}
	p.yes("no_new_privs", c.NoNewPrivs)
	if len(c.Seccomp) > 0 {
		p.line("seccomp flags %#x, a filter", c.SeccompFlags)
	}
	p.text("apparmor", c.AppArmor)
	p.text("selinux", c.SELinux)
	p.line("user %d:%d %v", c.UID, c.GID, c.Gids)
	if c.HasUmask {
		p.line("umask %04o", c.Umask)
	}
	p.line("cwd %s create=%t", c.Cwd, c.CreateCwd)
	for _, e := range c.Env {
		p.line("env %q", e)
	}
	p.line("exec %q", c.Args)
}

func idMapLines(p *printer, kind string, maps []syscall.SysProcIDMap) {
	for _, m := range maps {
		p.line("%s map %d %d %d", kind, m.ContainerID, m.HostID, m.Size)
	}
}

type bit struct {
	value uint64
	name  string
}

var nsBits = []bit{
	{unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWCGROUP, "cgroup"}, {unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWUTS, "uts"},
	{unix.CLONE_NEWNET, "net"}, {unix.CLONE_NEWPID, "pid"}, {unix.CLONE_NEWNS, "mnt"},
}

var mountBits = []bit{
	{unix.MS_BIND, "bind"}, {unix.MS_REC, "rec"}, {unix.MS_RDONLY, "ro"}, {unix.MS_NOSUID, "nosuid"}, {unix.MS_NODEV, "nodev"},
	{unix.MS_NOEXEC, "noexec"}, {unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"}, {unix.MS_MANDLOCK, "mand"},
	{unix.MS_NOATIME, "noatime"}, {unix.MS_NODIRATIME, "nodiratime"}, {unix.MS_RELATIME, "relatime"},
	{unix.MS_STRICTATIME, "strictatime"}, {unix.MS_LAZYTIME, "lazytime"}, {unix.MS_I_VERSION, "iversion"},
	{unix.MS_NOSYMFOLLOW, "nosymfollow"}, {unix.MS_SILENT, "silent"},
	{unix.MS_PRIVATE, "private"}, {unix.MS_SLAVE, "slave"}, {unix.MS_SHARED, "shared"}, {unix.MS_UNBINDABLE, "unbindable"},
}

func nsNames(f uint32) string { return names(uint64(f), nsBits) }

func flagNames(f uint64) string { return names(f, mountBits) }

// names spells out bits; what has no name is printed as a number, never dropped.
func names(v uint64, bits []bit) string {
	var out []string
	for _, b := range bits {
		if v&b.value != 0 {
			out = append(out, b.name)
			v &^= b.value
		}
	}
	if v != 0 {
		out = append(out, fmt.Sprintf("%#x", v))
	}
	return strings.Join(out, " ")
}
