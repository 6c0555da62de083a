package validate

import (
	"path"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (c *checker) containerSecurity(f string, s *runtimeapi.LinuxContainerSecurityContext) {
	if s == nil {
		return
	}
	c.capabilities(f+".capabilities", s.GetCapabilities())
	c.namespaces(f+".namespace_options", s.GetNamespaceOptions(), false)
	c.selinux(f+".selinux_options", s.GetSelinuxOptions())
	c.user(f+".run_as_user", s.GetRunAsUser())
	c.user(f+".run_as_group", s.GetRunAsGroup())
	c.text(f+".run_as_username", s.GetRunAsUsername(), maxName)
	if s.GetRunAsUser() != nil && s.GetRunAsUsername() != "" {
		c.fail(f+".run_as_username", "not with run_as_user")
	}
	if s.GetRunAsGroup() != nil && s.GetRunAsUser() == nil && s.GetRunAsUsername() == "" {
		c.fail(f+".run_as_group", "needs run_as_user or run_as_username")
	}
	c.groups(f+".supplemental_groups", s.GetSupplementalGroups())
	c.enum(f+".supplemental_groups_policy", int32(s.GetSupplementalGroupsPolicy()), runtimeapi.SupplementalGroupsPolicy_name)
	for i, p := range s.GetMaskedPaths() {
		c.mountPath(at(f+".masked_paths", i), p)
	}
	for i, p := range s.GetReadonlyPaths() {
		c.mountPath(at(f+".readonly_paths", i), p)
	}
	c.profile(f+".seccomp", s.GetSeccomp(), true)
	c.profile(f+".apparmor", s.GetApparmor(), false)
	//lint:ignore SA1019 older kubelets send the string alone
	c.oldProfile(f+".seccomp_profile_path", s.GetSeccompProfilePath(), true)
	//lint:ignore SA1019 older kubelets send the string alone
	c.oldProfile(f+".apparmor_profile", s.GetApparmorProfile(), false)
}

func (c *checker) capabilities(f string, caps *runtimeapi.Capability) {
	for name, list := range map[string][]string{
		".add_capabilities":         caps.GetAddCapabilities(),
		".drop_capabilities":        caps.GetDropCapabilities(),
		".add_ambient_capabilities": caps.GetAddAmbientCapabilities(),
	} {
		for i, s := range list {
			if s == "" || len(s) > 64 || strings.IndexFunc(s, func(r rune) bool { return !isWord(r) }) >= 0 {
				c.fail(at(f+name, i), "no capability's name")
			}
		}
	}
}

// namespaces: a pod's network is its own or the node's; a container's namespaces follow.
func (c *checker) namespaces(f string, n *runtimeapi.NamespaceOption, pod bool) {
	if n == nil {
		return
	}
	modes := runtimeapi.NamespaceMode_name
	c.enum(f+".network", int32(n.GetNetwork()), modes)
	c.enum(f+".pid", int32(n.GetPid()), modes)
	c.enum(f+".ipc", int32(n.GetIpc()), modes)
	const target = runtimeapi.NamespaceMode_TARGET
	if n.GetNetwork() == target || n.GetIpc() == target {
		c.fail(f+".network", "TARGET is for pid only")
	}
	switch {
	case n.GetPid() == target && pod:
		c.fail(f+".pid", "a pod has no TARGET")
	case n.GetPid() == target:
		c.id(f+".target_id", n.GetTargetId())
	}
	c.userns(f+".userns_options", n.GetUsernsOptions())
}

func (c *checker) userns(f string, u *runtimeapi.UserNamespace) {
	if u == nil {
		return
	}
	switch u.GetMode() {
	case runtimeapi.NamespaceMode_POD:
	case runtimeapi.NamespaceMode_NODE:
		if len(u.GetUids()) > 0 || len(u.GetGids()) > 0 {
			c.fail(f+".uids", "not with the node's user namespace")
		}
	default:
		c.fail(f+".mode", "neither POD nor NODE")
	}
	c.idMappings(f+".uids", u.GetUids())
	c.idMappings(f+".gids", u.GetGids())
	if (len(u.GetUids()) == 0) != (len(u.GetGids()) == 0) {
		c.fail(f+".gids", "uids and gids are given together")
	}
}

// maxMappings is the kernel's (user_namespaces(7)).
const maxMappings = 340

func (c *checker) idMappings(f string, ms []*runtimeapi.IDMapping) {
	if len(ms) > maxMappings {
		c.fail(f, "more than %d mappings", maxMappings)
		return
	}
	for i, m := range ms {
		length := uint64(m.GetLength())
		switch {
		case length == 0:
			c.fail(at(f, i)+".length", "0")
		case uint64(m.GetHostId())+length-1 > maxUID:
			c.fail(at(f, i)+".host_id", "the range ends above %d", uint32(maxUID))
		case uint64(m.GetContainerId())+length-1 > maxUID:
			c.fail(at(f, i)+".container_id", "the range ends above %d", uint32(maxUID))
		}
	}
}

func (c *checker) selinux(f string, o *runtimeapi.SELinuxOption) {
	c.text(f+".user", o.GetUser(), maxName)
	c.text(f+".role", o.GetRole(), maxName)
	c.text(f+".type", o.GetType(), maxName)
	c.text(f+".level", o.GetLevel(), maxName)
}

func (c *checker) user(f string, v *runtimeapi.Int64Value) {
	if v != nil {
		c.between(f, v.GetValue(), 0, maxUID)
	}
}

// groups: 65536 is the kernel's NGROUPS_MAX (setgroups(2)).
func (c *checker) groups(f string, gs []int64) {
	if len(gs) > 65536 {
		c.fail(f, "more than 65536 groups")
		return
	}
	for i, g := range gs {
		if g < 0 || g > maxUID {
			c.between(at(f, i), g, 0, maxUID)
		}
	}
}

func (c *checker) profile(f string, p *runtimeapi.SecurityProfile, isPath bool) {
	if p == nil {
		return
	}
	c.enum(f+".profile_type", int32(p.GetProfileType()), runtimeapi.SecurityProfile_ProfileType_name)
	ref := p.GetLocalhostRef()
	c.text(f+".localhost_ref", ref, maxPath)
	if p.GetProfileType() != runtimeapi.SecurityProfile_Localhost {
		return
	}
	if ref == "" {
		c.fail(f+".localhost_ref", "empty")
	} else if isPath && !path.IsAbs(ref) {
		c.fail(f+".localhost_ref", "not an absolute path")
	}
}

// oldProfile is the form of a profile before SecurityProfile: a word, or "localhost/" and what it
// now calls localhost_ref.
func (c *checker) oldProfile(f, s string, isPath bool) {
	c.text(f, s, maxPath)
	ref, local := strings.CutPrefix(s, "localhost/")
	switch {
	case local && ref == "":
		c.fail(f, "no profile's name after localhost/")
	case local && isPath && !path.IsAbs(ref):
		c.fail(f, "not an absolute path after localhost/")
	case local, s == "", s == "runtime/default", s == "unconfined", isPath && s == "docker/default":
	default:
		c.fail(f, "%q is none of runtime/default, unconfined and localhost/…", s)
	}
}
