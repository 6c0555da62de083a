package spec

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// sysctlOwners are the sysctls that belong to a namespace, by path; a trailing slash
// takes a whole directory. Everything else is the node's (namespaces(7), sysctl docs of
// the kernel).
var sysctlOwners = map[string]specs.LinuxNamespaceType{
	"kernel/msgmax":          specs.IPCNamespace,
	"kernel/msgmnb":          specs.IPCNamespace,
	"kernel/msgmni":          specs.IPCNamespace,
	"kernel/sem":             specs.IPCNamespace,
	"kernel/shmall":          specs.IPCNamespace,
	"kernel/shmmax":          specs.IPCNamespace,
	"kernel/shmmni":          specs.IPCNamespace,
	"kernel/shm_rmid_forced": specs.IPCNamespace,
	"fs/mqueue/":             specs.IPCNamespace,
	"kernel/domainname":      specs.UTSNamespace,
	"net/":                   specs.NetworkNamespace,
}

// SysctlNamespace gives the namespace that owns a sysctl, by path relative to /proc/sys;
// false for those of the whole node.
func SysctlNamespace(path string) (specs.LinuxNamespaceType, bool) {
	if ns, ok := sysctlOwners[path]; ok {
		return ns, true
	}
	for _, dir := range []string{"net/", "fs/mqueue/"} {
		if strings.HasPrefix(path, dir) {
			return sysctlOwners[dir], true
		}
	}
	return "", false
}

// ValidateSysctl checks one name and value by themselves: the name must be of a
// namespaced sysctl and a plain path, the value one line. Neither may hold "+": sets of
// sysctls have been joined with it, and one value became two (CVE-2022-0811).
func ValidateSysctl(name, value string) error {
	c := &checker{}
	c.sysctl(name, value)
	if len(c.errs) > 0 {
		return c.errs[0]
	}
	return nil
}

func (c *checker) sysctl(name, value string) (path string, owner specs.LinuxNamespaceType) {
	path = SysctlPath(name)
	if !plainSysctl(path) {
		c.invalid("linux.sysctl: %q is not a sysctl's name", name)
		return path, ""
	}
	if strings.ContainsFunc(value, func(r rune) bool { return control(r) && r != '\t' }) || strings.ContainsAny(value, "+=") {
		c.invalid("linux.sysctl[%q]: value %q", name, value)
	}
	owner, ok := SysctlNamespace(path)
	if path == "kernel/hostname" {
		c.invalid("linux.sysctl[%q]: use hostname", name)
	} else if !ok {
		c.invalid("linux.sysctl[%q]: not of a namespace: it would change the node", name)
	}
	return path, owner
}

func plainSysctl(path string) bool {
	for _, part := range strings.Split(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
		for _, r := range part {
			ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.:@", r)
			if !ok {
				return false
			}
		}
	}
	return true
}

func (c *checker) sysctls(m map[string]string, owned map[specs.LinuxNamespaceType]bool) {
	seen := make(map[string]bool, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		path, owner := c.sysctl(name, m[name])
		if owner != "" && !owned[owner] {
			c.invalid("linux.sysctl[%q]: needs a %s namespace", name, owner)
		}
		if seen[path] {
			c.invalid("linux.sysctl[%q]: given twice", name)
		}
		seen[path] = true
	}
}
