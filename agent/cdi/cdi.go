// Package cdi puts devices that are asked for by name (CNCF's Container Device Interface) into a
// runtime-spec. Files, names and edits are the library's (tags.cncf.io/container-device-interface);
// here are only the request's fields, the kinds of errors, and when files are read: at each request
// for a device, never otherwise, and nothing is watched or kept: no state of its own and no locks.
//
// Whether the runtime can do what an edit asks (hooks, say) is for the runtime to judge.
package cdi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdispec "tags.cncf.io/container-device-interface/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Injector applies devices.
type Injector struct {
	// Dirs hold the CDI files; a device in a later one takes the place of one of the same name
	// in an earlier one.
	Dirs []string
}

// Names are the devices that a container asks for, each once: those of the request's field and
// those of its annotations. Errors wrap lifecycle.ErrInvalid and name the request's field.
func Names(devices []string, annotations map[string]string) ([]string, error) {
	var names []string
	add := func(field, name string) error {
		if !parser.IsQualifiedName(name) {
			return fmt.Errorf("%s: %.300q is no device's name such as vendor.com/class=device: %w", field, name, lifecycle.ErrInvalid)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	}
	for i, name := range devices {
		if err := add(fmt.Sprintf("config.CDI_devices[%d].name", i), name); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, cdi.AnnotationPrefix) {
			continue
		}
		for name := range strings.SplitSeq(annotations[key], ",") {
			if err := add(fmt.Sprintf("config.annotations[%q]", key), name); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// Apply edits s for the devices, and for each file that one of them is in once. A device that
// no file has, or whose node is gone, is lifecycle.ErrInvalid, with what is wrong with the files that
// could not be read. After an error s is not to be used.
func (in Injector) Apply(s *specs.Spec, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if len(in.Dirs) == 0 { // the library would take its own default
		return fmt.Errorf("config.CDI_devices[%s]: no directory has CDI files: %w", strings.Join(names, ", "), lifecycle.ErrInvalid)
	}
	setValidator()
	// A new cache each time: applying writes the node's numbers into the cached edits, without a lock.
	cache, err := cdi.NewCache(cdi.WithSpecDirs(in.Dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("CDI files: %w", err)
	}
	missing, err := cache.InjectDevices(s, names...)
	if err != nil && len(missing) == 0 {
		return fmt.Errorf("config.CDI_devices[%s]: %w: %w", strings.Join(names, ", "), err, lifecycle.ErrInvalid)
	}
	if err != nil {
		err = fmt.Errorf("config.CDI_devices[%s]: in no file of %s: %w", strings.Join(missing, ", "), strings.Join(in.Dirs, ", "), lifecycle.ErrInvalid)
		return errors.Join(append([]error{err}, faults(cache.GetErrors())...)...)
	}
	mapMounts(s)
	return nil
}

func faults(byFile map[string][]error) []error {
	var all []error
	for _, path := range slices.Sorted(maps.Keys(byFile)) {
		all = append(all, fmt.Errorf("CDI file %s: %w", path, errors.Join(byFile[path]...)))
	}
	return all
}

// mapMounts says as mappings what the library says with an option: mounts of a container in a user
// namespace are to be mapped as that is.
func mapMounts(s *specs.Spec) {
	option := func(o string) bool { return o == "idmap" || o == "ridmap" }
	for i := range s.Mounts {
		if m := &s.Mounts[i]; slices.ContainsFunc(m.Options, option) && s.Linux != nil {
			m.Options = slices.DeleteFunc(slices.Clone(m.Options), option)
			m.UIDMappings, m.GIDMappings = s.Linux.UIDMappings, s.Linux.GIDMappings
		}
	}
}

var setValidator = sync.OnceFunc(func() { cdi.SetSpecValidator(noNulls{}) })

// noNulls refuses lists with empty entries, which the library's own checks dereference.
type noNulls struct{}

func (noNulls) Validate(f *cdispec.Spec) error {
	all := []cdispec.ContainerEdits{f.ContainerEdits}
	for _, d := range f.Devices {
		all = append(all, d.ContainerEdits)
	}
	for _, e := range all {
		if slices.Contains(e.DeviceNodes, nil) || slices.Contains(e.NetDevices, nil) || slices.Contains(e.Hooks, nil) || slices.Contains(e.Mounts, nil) {
			return errors.New("an empty entry in a list of containerEdits")
		}
	}
	return nil
}
