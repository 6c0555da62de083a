package config

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
)

// DefaultHandler is the runtime handler of pods that ask for none, and of those that ask for "".
const DefaultHandler = "slipway"

// Runtime is how containers are run.
type Runtime struct {
	Handlers map[string]Handler `toml:"handlers" comment:"Runtime handlers beside the default ones, by the name that a RuntimeClass gives."`
}

// Handler is what containers of a pod with this runtime handler get instead of the node's own.
type Handler struct {
	PrivilegedWithoutHostDevices bool   `toml:"privileged_without_host_devices" comment:"A privileged container gets no device nodes of the node's, but those it asks for."`
	SeccompProfile               string `toml:"seccomp_profile" comment:"As seccomp.default_profile. Empty: that one."`
	AppArmorProfile              string `toml:"apparmor_profile" comment:"As apparmor.default_profile. Empty: that one."`
}

// CDI is where device files of the Container Device Interface are.
type CDI struct {
	SpecDirs []string `toml:"spec_dirs" comment:"Directories with CDI files; a later one goes before an earlier one. Empty list: no CDI."`
}

// HandlerNames are all runtime handlers: "", the default's name, and the configured ones in order.
func (r *Runtime) HandlerNames() []string {
	return append([]string{"", DefaultHandler}, slices.Sorted(maps.Keys(r.Handlers))...)
}

// handlerName is a RuntimeClass's handler (a DNS label, RFC 1123).
var handlerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// checkRuntime refuses what cannot be a handler or a directory.
func (c *Config) checkRuntime(bad func(key, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(c.Runtime.Handlers)) {
		key, h := "runtime.handlers."+name, c.Runtime.Handlers[name]
		switch {
		case name == DefaultHandler:
			bad(key, "the default handler is configured by the sections of its own")
		case !handlerName.MatchString(name):
			bad(key, "%q is no lower-case DNS label", name)
		}
		if h.SeccompProfile != "" && !filepath.IsAbs(h.SeccompProfile) {
			bad(key+".seccomp_profile", "%q is not absolute", h.SeccompProfile)
		}
	}
	for _, dir := range c.CDI.SpecDirs {
		if !filepath.IsAbs(dir) {
			bad("cdi.spec_dirs", "%q is not absolute", dir)
		}
	}
}
