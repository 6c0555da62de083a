package spec

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checker collects breaches, so that one answer names them all.
type checker struct{ errs []error }

func (c *checker) invalid(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format+": %w", append(args, ErrInvalid)...))
}

func (c *checker) unsupported(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format+": %w", append(args, ErrUnsupported)...))
}

// Validate returns every breach in s, joined, nil if there is none. A spec that passes
// can be planned; whether its paths exist is for create to find out.
func Validate(s *specs.Spec) error {
	c := &checker{}
	c.version(s.Version)
	c.foreign(s)
	if s.Root == nil {
		c.invalid("root: missing")
	} else {
		c.text("root.path", s.Root.Path)
	}
	if s.Process == nil {
		c.invalid("process: missing")
	} else {
		c.process(s.Process)
	}
	for i := range s.Mounts {
		c.mount(i, &s.Mounts[i])
	}
	l := s.Linux
	if l == nil {
		l = &specs.Linux{}
	}
	c.linux(l)
	owned := c.namespaces(l.Namespaces)
	c.idMappings(s, owned)
	c.hostname(s, owned)
	c.sysctls(l.Sysctl, owned)
	return errors.Join(c.errs...)
}

// ValidateProcess checks the process of an exec.
func ValidateProcess(p *specs.Process) error {
	c := &checker{}
	if p == nil {
		c.invalid("process: missing")
	} else {
		c.process(p)
	}
	return errors.Join(c.errs...)
}

// version accepts every 1.x: later minor versions only add fields.
func (c *checker) version(v string) {
	core, _, _ := strings.Cut(v, "-")
	core, _, _ = strings.Cut(core, "+")
	part := strings.Split(core, ".")
	ok := len(part) == 3 && part[0] == "1"
	for _, p := range part {
		_, err := strconv.ParseUint(p, 10, 31)
		ok = ok && err == nil
	}
	if !ok {
		c.invalid("ociVersion: %q is not a version 1.x.y", v)
	}
}

// foreign refuses what is not for Linux containers, or not done here.
func (c *checker) foreign(s *specs.Spec) {
	for _, p := range []struct {
		field string
		set   bool
	}{
		{"solaris", s.Solaris != nil}, {"windows", s.Windows != nil}, {"vm", s.VM != nil}, {"zos", s.ZOS != nil}, {"freebsd", s.FreeBSD != nil},
	} {
		if p.set {
			c.unsupported("%s", p.field)
		}
	}
	if h := s.Hooks; h != nil {
		//lint:ignore SA1019 specs still come with it, and passing over a hook would be wrong
		n := len(h.Prestart)
		n += len(h.CreateRuntime) + len(h.CreateContainer) + len(h.StartContainer) + len(h.Poststart) + len(h.Poststop)
		if n > 0 {
			c.unsupported("hooks")
		}
	}
}

// hostname: setting one without a UTS namespace would rename the node.
func (c *checker) hostname(s *specs.Spec, owned map[specs.LinuxNamespaceType]bool) {
	for _, name := range [][2]string{{"hostname", s.Hostname}, {"domainname", s.Domainname}} {
		field, v := name[0], name[1]
		if v == "" {
			continue
		}
		if !owned[specs.UTSNamespace] {
			c.invalid("%s: needs a uts namespace", field)
		}
		if len(v) > 64 || strings.ContainsFunc(v, control) { // __NEW_UTS_LEN
			c.invalid("%s: %q is longer than 64 bytes or has control characters", field, v)
		}
	}
}

// procFiles are the files of /proc that may be covered: those that lxcfs and the field's
// runtimes allow. Anything else there could divert what a runtime writes about the
// process, such as its LSM label (CVE-2019-16884, CVE-2019-19921).
var procFiles = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg",
	"/proc/slabinfo", "/proc/net/dev", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}

func (c *checker) mount(i int, m *specs.Mount) {
	c.absolute(m.Destination, "mounts[%d].destination", i)
	dst := path.Clean(m.Destination)
	bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
	switch {
	case dst == "/":
		c.invalid("mounts[%d].destination: would cover the root", i)
	case dst == "/proc" && !bind && m.Type != "proc":
		c.invalid("mounts[%d].type: %q at /proc", i, m.Type)
	case strings.HasPrefix(dst, "/proc/") && !slices.Contains(procFiles, dst):
		c.invalid("mounts[%d].destination: %q is inside /proc", i, dst)
	}
	if m.Type == "" && !bind {
		c.invalid("mounts[%d].type: missing", i)
	}
	if bind && m.Source == "" {
		c.invalid("mounts[%d].source: missing for a bind", i)
	}
	if strings.ContainsRune(m.Type+m.Source, 0) {
		c.invalid("mounts[%d]: NUL in type or source", i)
	}
	for j, o := range m.Options {
		switch {
		case strings.ContainsRune(o, 0):
			c.invalid("mounts[%d].options[%d]: NUL", i, j)
		case o == "idmap" || o == "ridmap" || o == "remount":
			c.unsupported("mounts[%d].options[%d]: %q", i, j, o)
		}
	}
	// Which mappings can be carried out depends on the user namespace: oci/plan says.
	c.idMap(fmt.Sprintf("mounts[%d].uidMappings", i), m.UIDMappings)
	c.idMap(fmt.Sprintf("mounts[%d].gidMappings", i), m.GIDMappings)
}

// absolute checks a path; field is a format for args, so that nothing is formatted for a good one.
func (c *checker) absolute(p, field string, args ...any) {
	switch {
	case !strings.HasPrefix(p, "/"):
		c.invalid(field+": %q is not an absolute path", append(args, p)...)
	case strings.ContainsRune(p, 0):
		c.invalid(field+": NUL in a path", args...)
	}
}

// text checks a string that the kernel takes as one C string.
func (c *checker) text(field, v string) {
	if strings.ContainsRune(v, 0) {
		c.invalid("%s: contains NUL", field)
	}
}

// label checks an LSM label: it is written into a file or a mount option as it is.
func (c *checker) label(field, v string) {
	if strings.ContainsFunc(v, func(r rune) bool { return control(r) || r == '"' || r == ' ' }) {
		c.invalid("%s: %q has spaces, quotes or control characters", field, v)
	}
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }
