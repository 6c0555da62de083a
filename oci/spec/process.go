package spec

import (
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// noID is (uid_t)-1, which the kernel's set*id calls take for "leave it".
const noID = math.MaxUint32

func (c *checker) process(p *specs.Process) {
	if len(p.Args) == 0 || p.Args[0] == "" {
		c.invalid("process.args: no program")
	}
	for i, a := range p.Args {
		if strings.ContainsRune(a, 0) {
			c.invalid("process.args[%d]: contains NUL", i)
		}
	}
	for i, e := range p.Env {
		if strings.ContainsRune(e, 0) || strings.IndexByte(e, '=') < 1 {
			c.invalid("process.env[%d]: %q is not NAME=value", i, e)
		}
	}
	if p.Cwd != "" {
		c.absolute(p.Cwd, "process.cwd")
	}
	if b := p.ConsoleSize; b != nil && (b.Height > math.MaxUint16 || b.Width > math.MaxUint16) {
		c.invalid("process.consoleSize: %d x %d is more than 65535", b.Height, b.Width)
	}
	c.user(&p.User)
	c.capabilities(p.Capabilities)
	c.rlimits(p.Rlimits)
	c.label("process.apparmorProfile", p.ApparmorProfile)
	c.label("process.selinuxLabel", p.SelinuxLabel)
	if a := p.OOMScoreAdj; a != nil && (*a < -1000 || *a > 1000) {
		c.invalid("process.oomScoreAdj: %d is not within -1000 and 1000", *a)
	}
	if p.Scheduler != nil {
		c.unsupported("process.scheduler")
	}
	if p.IOPriority != nil {
		c.unsupported("process.ioPriority")
	}
	if p.ExecCPUAffinity != nil {
		c.unsupported("process.execCPUAffinity")
	}
}

func (c *checker) user(u *specs.User) {
	if u.UID == noID {
		c.invalid("process.user.uid: %d", u.UID)
	}
	if u.GID == noID {
		c.invalid("process.user.gid: %d", u.GID)
	}
	for i, g := range u.AdditionalGids {
		if g == noID {
			c.invalid("process.user.additionalGids[%d]: %d", i, g)
		}
	}
	if len(u.AdditionalGids) > 65536 { // NGROUPS_MAX
		c.invalid("process.user.additionalGids: more than 65536")
	}
	if u.Umask != nil && *u.Umask > 0o777 {
		c.invalid("process.user.umask: %#o", *u.Umask)
	}
}

func (c *checker) capabilities(k *specs.LinuxCapabilities) {
	if k == nil {
		return
	}
	known := func(set string, names []string) (mask uint64) {
		for i, name := range names {
			n, ok := Capability(name)
			if !ok {
				c.invalid("process.capabilities.%s[%d]: unknown %q", set, i, name)
				continue
			}
			mask |= 1 << n
		}
		return mask
	}
	known("bounding", k.Bounding)
	known("inheritable", k.Inheritable)
	permitted := known("permitted", k.Permitted)
	// capset(2) refuses what is not permitted.
	if known("effective", k.Effective)&^permitted != 0 {
		c.invalid("process.capabilities.effective: not all are permitted")
	}
	if known("ambient", k.Ambient)&^permitted != 0 {
		c.invalid("process.capabilities.ambient: not all are permitted")
	}
}

func (c *checker) rlimits(ls []specs.POSIXRlimit) {
	for i, l := range ls {
		if _, ok := Rlimit(l.Type); !ok {
			c.invalid("process.rlimits[%d].type: unknown %q", i, l.Type)
		}
		if l.Soft > l.Hard {
			c.invalid("process.rlimits[%d]: soft %d over hard %d", i, l.Soft, l.Hard)
		}
		if slices.ContainsFunc(ls[:i], func(o specs.POSIXRlimit) bool { return o.Type == l.Type }) {
			c.invalid("process.rlimits[%d].type: second %q", i, l.Type)
		}
	}
}
