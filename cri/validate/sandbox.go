package validate

import (
	"net/netip"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (c *checker) sandbox(f string, cfg *runtimeapi.PodSandboxConfig) {
	if cfg == nil {
		c.fail(f, "missing")
		return
	}
	meta := cfg.GetMetadata()
	if meta == nil {
		c.fail(f+".metadata", "missing")
		return
	}
	c.name(f+".metadata.name", meta.GetName(), maxName)
	c.name(f+".metadata.uid", meta.GetUid(), maxName)
	c.name(f+".metadata.namespace", meta.GetNamespace(), maxName)
	c.sandboxBody(f, cfg)
}

// sandboxBody is all but the metadata.
func (c *checker) sandboxBody(f string, cfg *runtimeapi.PodSandboxConfig) {
	c.hostname(f+".hostname", cfg.GetHostname())
	if cfg.GetLogDirectory() != "" {
		c.absolute(f+".log_directory", cfg.GetLogDirectory())
	}
	c.dns(f+".dns_config", cfg.GetDnsConfig())
	for i, p := range cfg.GetPortMappings() {
		c.port(at(f+".port_mappings", i), p)
	}
	c.labels(f+".labels", cfg.GetLabels())
	c.annotations(f+".annotations", cfg.GetAnnotations())
	c.sandboxLinux(f+".linux", cfg.GetLinux())
	c.windows(f+".windows", cfg.GetWindows() != nil)
}

// hostname: sethostname(2) takes 64 bytes. It also becomes a line of /etc/hosts.
func (c *checker) hostname(f, s string) {
	c.text(f, s, maxHostname)
	if strings.ContainsAny(s, " /") {
		c.fail(f, "contains a space or a slash")
	}
}

// dns: each string becomes a word of resolv.conf(5).
func (c *checker) dns(f string, d *runtimeapi.DNSConfig) {
	for i, s := range d.GetServers() {
		if _, err := netip.ParseAddr(s); err != nil {
			c.fail(at(f+".servers", i), "%q is no IP address", s)
		}
	}
	for i, s := range d.GetSearches() {
		c.word(at(f+".searches", i), s)
	}
	for i, s := range d.GetOptions() {
		c.word(at(f+".options", i), s)
	}
}

func (c *checker) word(f, s string) {
	if s == "" || strings.Contains(s, " ") {
		c.fail(f, "must be one word")
	}
	c.text(f, s, maxLabelValue)
}

func (c *checker) port(f string, p *runtimeapi.PortMapping) {
	if p == nil {
		c.fail(f, "missing")
		return
	}
	c.enum(f+".protocol", int32(p.GetProtocol()), runtimeapi.Protocol_name)
	c.between(f+".container_port", int64(p.GetContainerPort()), 0, 65535)
	c.between(f+".host_port", int64(p.GetHostPort()), 0, 65535)
	if p.GetHostPort() != 0 && p.GetContainerPort() == 0 {
		c.fail(f+".container_port", "missing for a host port")
	}
	if ip := p.GetHostIp(); ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			c.fail(f+".host_ip", "%q is no IP address", ip)
		}
	}
}

func (c *checker) sandboxLinux(f string, l *runtimeapi.LinuxPodSandboxConfig) {
	if l == nil {
		return
	}
	// A path, or with the systemd driver a slice's name.
	c.path(f+".cgroup_parent", l.GetCgroupParent())
	c.sandboxSecurity(f+".security_context", l.GetSecurityContext())
	for k, v := range l.GetSysctls() {
		c.sysctl(key(f+".sysctls", k), k, v)
	}
	c.overhead(f+".overhead", l.GetOverhead())
	c.podResources(f+".resources", l.GetResources())
}

// sysctl: the name becomes a path below /proc/sys, so ".." is refused in both spellings;
// the value is one line. Which names a pod may set is for the agent to say.
func (c *checker) sysctl(f, name, value string) {
	ok := name != "" && len(name) <= maxName && !strings.Contains(name, "..") &&
		strings.IndexFunc(name, func(r rune) bool { return !isWord(r) && !strings.ContainsRune("-./", r) }) < 0
	if !ok || name[0] == '/' || name[0] == '.' {
		c.fail(f, "no sysctl name")
	}
	c.text(f, strings.ReplaceAll(value, "\t", " "), maxLabelValue)
}

func (c *checker) sandboxSecurity(f string, s *runtimeapi.LinuxSandboxSecurityContext) {
	if s == nil {
		return
	}
	c.namespaces(f+".namespace_options", s.GetNamespaceOptions(), true)
	c.selinux(f+".selinux_options", s.GetSelinuxOptions())
	c.user(f+".run_as_user", s.GetRunAsUser())
	c.user(f+".run_as_group", s.GetRunAsGroup())
	if s.GetRunAsGroup() != nil && s.GetRunAsUser() == nil {
		c.fail(f+".run_as_group", "needs run_as_user")
	}
	c.groups(f+".supplemental_groups", s.GetSupplementalGroups())
	c.enum(f+".supplemental_groups_policy", int32(s.GetSupplementalGroupsPolicy()), runtimeapi.SupplementalGroupsPolicy_name)
	c.profile(f+".seccomp", s.GetSeccomp(), true)
	c.profile(f+".apparmor", s.GetApparmor(), false)
	//lint:ignore SA1019 older kubelets send the string alone
	c.oldProfile(f+".seccomp_profile_path", s.GetSeccompProfilePath(), true)
}
