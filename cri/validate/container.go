package validate

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (c *checker) container(f string, cfg *runtimeapi.ContainerConfig) {
	if cfg == nil {
		c.fail(f, "missing")
		return
	}
	if cfg.GetMetadata() == nil {
		c.fail(f+".metadata", "missing")
		return
	}
	c.name(f+".metadata.name", cfg.GetMetadata().GetName(), maxName)
	c.imageSpec(f+".image", cfg.GetImage())
	c.process(f, cfg)
	for i, m := range cfg.GetMounts() {
		c.mount(at(f+".mounts", i), m)
	}
	for i, d := range cfg.GetDevices() {
		c.device(at(f+".devices", i), d)
	}
	for i, d := range cfg.GetCDIDevices() {
		c.word(at(f+".CDI_devices", i)+".name", d.GetName())
	}
	c.labels(f+".labels", cfg.GetLabels())
	c.annotations(f+".annotations", cfg.GetAnnotations())
	c.relative(f+".log_path", cfg.GetLogPath())
	c.enum(f+".stop_signal", int32(cfg.GetStopSignal()), runtimeapi.Signal_name)
	c.windows(f+".windows", cfg.GetWindows() != nil)
	if l := cfg.GetLinux(); l != nil {
		c.resources(f+".linux.resources", l.GetResources())
		c.containerSecurity(f+".linux.security_context", l.GetSecurityContext())
	}
}

func (c *checker) process(f string, cfg *runtimeapi.ContainerConfig) {
	for i, a := range cfg.GetCommand() {
		c.noNUL(at(f+".command", i), a)
	}
	for i, a := range cfg.GetArgs() {
		c.noNUL(at(f+".args", i), a)
	}
	if cfg.GetWorkingDir() != "" {
		c.mountPath(f+".working_dir", cfg.GetWorkingDir())
	}
	for i, e := range cfg.GetEnvs() {
		k := e.GetKey()
		if k == "" || strings.Contains(k, "=") {
			c.fail(at(f+".envs", i)+".key", "empty, or contains =")
		}
		c.noNUL(at(f+".envs", i)+".key", k)
		c.noNUL(at(f+".envs", i)+".value", string(e.GetValue()))
	}
}

func (c *checker) imageSpec(f string, i *runtimeapi.ImageSpec) {
	if i == nil {
		c.fail(f, "missing")
		return
	}
	if i.GetImage() == "" {
		c.fail(f+".image", "empty")
	}
	c.imageFilter(f, i)
}

// imageFilter judges an image that may also be none.
func (c *checker) imageFilter(f string, i *runtimeapi.ImageSpec) {
	c.reference(f+".image", i.GetImage())
	c.text(f+".user_specified_image", i.GetUserSpecifiedImage(), maxReference)
	c.text(f+".image_ref", i.GetImageRef(), maxReference)
	c.text(f+".runtime_handler", i.GetRuntimeHandler(), maxName)
	c.annotations(f+".annotations", i.GetAnnotations())
}

func (c *checker) reference(f, s string) {
	if strings.Contains(s, " ") {
		c.fail(f, "contains a space")
	}
	c.text(f, s, maxReference)
}

// auth goes into HTTP headers; the fault never quotes it.
func (c *checker) auth(f string, a *runtimeapi.AuthConfig) {
	c.text(f+".username", a.GetUsername(), maxArg)
	c.text(f+".password", a.GetPassword(), maxArg)
	c.text(f+".auth", a.GetAuth(), maxArg)
	c.text(f+".server_address", a.GetServerAddress(), maxPath)
	c.text(f+".identity_token", a.GetIdentityToken(), maxArg)
	c.text(f+".registry_token", a.GetRegistryToken(), maxArg)
}

func (c *checker) mount(f string, m *runtimeapi.Mount) {
	if m == nil {
		c.fail(f, "missing")
		return
	}
	c.mountPath(f+".container_path", m.GetContainerPath())
	c.enum(f+".propagation", int32(m.GetPropagation()), runtimeapi.MountPropagation_name)
	if m.GetImage() != nil {
		c.imageSpec(f+".image", m.GetImage())
		c.relative(f+".image_sub_path", m.GetImageSubPath())
		if m.GetHostPath() != "" {
			c.fail(f+".host_path", "must be empty beside image")
		}
		if !m.GetReadonly() {
			c.fail(f+".readonly", "an image's volume is read-only (KEP-4639)")
		}
	} else {
		c.mountPath(f+".host_path", m.GetHostPath())
		if m.GetImageSubPath() != "" {
			c.fail(f+".image_sub_path", "needs image")
		}
	}
	if m.GetRecursiveReadOnly() {
		if !m.GetReadonly() {
			c.fail(f+".recursive_read_only", "needs readonly")
		}
		if m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE {
			c.fail(f+".recursive_read_only", "needs PROPAGATION_PRIVATE")
		}
	}
	for i, o := range m.GetMountOptions() {
		c.mountOption(at(f+".mount_options", i), o)
	}
	c.idMappings(f+".uidMappings", m.GetUidMappings())
	c.idMappings(f+".gidMappings", m.GetGidMappings())
}

// mountPath is an absolute path as a mount takes it. ".." and newlines are legal in one
// (it is resolved inside the container's root, or by the kubelet's own rules on the host).
func (c *checker) mountPath(f, s string) {
	switch {
	case s == "":
		c.fail(f, "empty")
	case s[0] != '/':
		c.fail(f, "not an absolute path")
	case len(s) > maxPath:
		c.fail(f, "longer than %d bytes", maxPath)
	case strings.IndexByte(s, 0) >= 0:
		c.fail(f, "contains NUL")
	}
}

// mountOption: options end up joined by commas.
func (c *checker) mountOption(f, s string) {
	c.word(f, s)
	if strings.Contains(s, ",") {
		c.fail(f, "contains a comma")
	}
}

func (c *checker) device(f string, d *runtimeapi.Device) {
	if d == nil {
		c.fail(f, "missing")
		return
	}
	c.absolute(f+".container_path", d.GetContainerPath())
	c.absolute(f+".host_path", d.GetHostPath())
	if p := d.GetPermissions(); p == "" || len(p) > 3 || strings.Trim(p, "rwm") != "" {
		c.fail(f+".permissions", "%q is not one or more of r, w and m", p)
	}
}
