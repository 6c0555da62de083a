package ocispec

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// paths sets the masked and read-only paths, which the kubelet sends with every container.
func (b *builder) paths() error {
	if b.privileged {
		return nil
	}
	masked, readonly := b.security.GetMaskedPaths(), b.security.GetReadonlyPaths()
	for i, p := range slices.Concat(masked, readonly) {
		field := "linux.security_context.masked_paths"
		if i >= len(masked) {
			field = "linux.security_context.readonly_paths"
		}
		if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
			return invalid(field, "%q is not absolute", p)
		}
	}
	b.spec.Linux.MaskedPaths, b.spec.Linux.ReadonlyPaths = masked, readonly
	return nil
}

// profile reads a profile out of the message or, where that is nil, out of the deprecated
// string. nil means that neither is set.
func profile(field string, p *runtimeapi.SecurityProfile, old string) (*runtimeapi.SecurityProfile, error) {
	if p == nil {
		switch ref, local := strings.CutPrefix(old, "localhost/"); {
		case old == "":
			return nil, nil
		case old == "runtime/default", old == "docker/default":
			p = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
		case old == "unconfined":
			p = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
		case local:
			p = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: ref}
		default:
			return nil, invalid(field, "unknown profile %q", old)
		}
	}
	switch p.GetProfileType() {
	case runtimeapi.SecurityProfile_RuntimeDefault, runtimeapi.SecurityProfile_Unconfined:
		if p.GetLocalhostRef() != "" {
			return nil, invalid(field, "localhost_ref is set for a profile of type %s", p.GetProfileType())
		}
	case runtimeapi.SecurityProfile_Localhost:
		if ref := p.GetLocalhostRef(); ref == "" || hasControl(ref) {
			return nil, invalid(field, "localhost_ref %q names no profile", ref)
		}
	default:
		return nil, invalid(field, "unknown type %d", p.GetProfileType())
	}
	return p, nil
}

// seccomp applies the profile; unset means unconfined, as CRI says.
func (b *builder) seccomp() error {
	const field = "linux.security_context.seccomp"
	//lint:ignore SA1019 older kubelets send the string alone
	p, err := profile(field, b.security.GetSeccomp(), b.security.GetSeccompProfilePath())
	if err != nil {
		return err
	}
	if p == nil || b.privileged || p.GetProfileType() == runtimeapi.SecurityProfile_Unconfined {
		return nil
	}
	if p.GetProfileType() == runtimeapi.SecurityProfile_Localhost && !path.IsAbs(p.GetLocalhostRef()) {
		return invalid(field, "localhost_ref %q is not absolute", p.GetLocalhostRef())
	}
	if b.in.Host.Seccomp == nil {
		return unsupported(field, "seccomp on this machine")
	}
	filter, err := b.in.Host.Seccomp(b.spec, p.GetProfileType(), p.GetLocalhostRef())
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	b.spec.Linux.Seccomp = filter
	return nil
}

// appArmor applies the profile; unset means the default one where the kernel has AppArmor.
// A privileged container has none but one that is asked for by name.
func (b *builder) appArmor() error {
	const field = "linux.security_context.apparmor"
	//lint:ignore SA1019 older kubelets send the string alone
	p, err := profile(field, b.security.GetApparmor(), b.security.GetApparmorProfile())
	if err != nil {
		return err
	}
	name := ""
	switch {
	case p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_Localhost:
		if !b.in.Host.AppArmor {
			return unsupported(field, "AppArmor is not enabled on this machine, profile "+p.GetLocalhostRef())
		}
		name = p.GetLocalhostRef()
	case p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_Unconfined, b.privileged, !b.in.Host.AppArmor:
	case p != nil && b.in.Host.AppArmorDefault == "":
		return invalid(field, "RuntimeDefault: this node has no default profile (apparmor.default_profile of the configuration)")
	default:
		name = b.in.Host.AppArmorDefault
	}
	if name == "" {
		return nil
	}
	if b.in.Host.AppArmorLoaded != nil {
		loaded, err := b.in.Host.AppArmorLoaded(name)
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		if !loaded {
			return invalid(field, "profile %q is not loaded", name)
		}
	}
	b.spec.Process.ApparmorProfile = name
	return nil
}

// seLinux sets the labels that the request names; parts left out are the policy's usual
// ones for containers. Without options the process keeps the agent's transition.
func (b *builder) seLinux() error {
	const field = "linux.security_context.selinux_options"
	o := b.security.GetSelinuxOptions()
	if o == nil {
		o = b.in.Pod.GetLinux().GetSecurityContext().GetSelinuxOptions()
	}
	if o == nil || b.privileged || !b.in.Host.SELinux {
		return nil
	}
	for name, v := range map[string]string{"user": o.GetUser(), "role": o.GetRole(), "type": o.GetType()} {
		if strings.ContainsAny(v, ": /") || hasControl(v) {
			return invalid(field+"."+name, "%q is no part of a label", v)
		}
	}
	level := cmp.Or(o.GetLevel(), "s0")
	if strings.ContainsAny(level, " /") || hasControl(level) {
		return invalid(field+".level", "%q is no level", level)
	}
	user := cmp.Or(o.GetUser(), "system_u")
	label := func(role, typ string) string { return strings.Join([]string{user, role, typ, level}, ":") }
	b.spec.Process.SelinuxLabel = label(cmp.Or(o.GetRole(), "system_r"), cmp.Or(o.GetType(), "container_t"))
	b.spec.Linux.MountLabel = label("object_r", "container_file_t")
	return nil
}
