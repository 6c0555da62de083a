// Package cdi finds devices by their qualified names in the node's CDI files (CNCF's Container
// Device Interface, 1.1) and carries the edits that they ask for out on a runtime-spec. The
// files are the operator's; the names come with requests. Files are read when a device is asked
// for, never watched or kept: it has no state and no locks.
//
// Whether the runtime can do what an edit asks (hooks, say) is for the runtime to judge.
package cdi

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// annotationPrefix begins the annotations that device plugins ask for devices with.
const annotationPrefix = "cdi.k8s.io/"

// Injector applies devices.
type Injector struct {
	// Dirs hold the CDI files; a device in a later one takes the place of one of the same name
	// in an earlier one.
	Dirs []string
	// Device describes a device node of this machine, by path; used where a file leaves type
	// and numbers out.
	Device func(path string) ([]specs.LinuxDevice, error)
}

// Names are the devices that a container asks for, each once: those of the request's field and
// those of its annotations. Errors wrap lifecycle.ErrInvalid and name the request's field.
func Names(devices []string, annotations map[string]string) ([]string, error) {
	var names []string
	add := func(field, name string) error {
		if _, _, err := split(name); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	}
	for i, name := range devices {
		if err := add(fmt.Sprintf("CDI_devices[%d].name", i), name); err != nil {
			return nil, err
		}
	}
	for _, key := range sortedKeys(annotations) {
		if !strings.HasPrefix(key, annotationPrefix) {
			continue
		}
		for name := range strings.SplitSeq(annotations[key], ",") {
			if err := add(fmt.Sprintf("annotations[%q]", key), name); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// Apply edits s for the devices, and for each file that one of them is in once. A device that
// no file has is lifecycle.ErrInvalid, with what is wrong with the files that could not be read.
func (in Injector) Apply(s *specs.Spec, names []string) error {
	if len(names) == 0 {
		return nil
	}
	found, faults := read(in.Dirs)
	var missing []string
	var all []edits
	seen := map[*file]bool{}
	for _, name := range names {
		d, ok := found[name]
		if !ok || d.conflict != nil {
			if d.conflict != nil {
				faults = append(faults, d.conflict)
			}
			missing = append(missing, name)
			continue
		}
		if !seen[d.file] {
			seen[d.file] = true
			all = append(all, d.file.ContainerEdits)
		}
		all = append(all, d.edits)
	}
	if missing != nil {
		err := fmt.Errorf("CDI device %s is in no file of %s: %w", strings.Join(missing, ", "), strings.Join(in.Dirs, ", "), lifecycle.ErrInvalid)
		return errors.Join(append([]error{err}, faults...)...)
	}
	for _, e := range all {
		if err := in.edit(s, &e); err != nil {
			return fmt.Errorf("CDI devices %s: %w", strings.Join(names, ", "), err)
		}
	}
	// Parents first, as in the rest of the spec.
	slices.SortStableFunc(s.Mounts, func(x, y specs.Mount) int {
		return cmp.Compare(strings.Count(x.Destination, "/"), strings.Count(y.Destination, "/"))
	})
	return nil
}

// split takes a qualified name apart: "vendor.com/class=device".
func split(name string) (kind, device string, err error) {
	kind, device, ok := strings.Cut(name, "=")
	if !ok || !isKind(kind) || !isName(device, "_-.:", false) {
		return "", "", fmt.Errorf("%.300q is no device's name such as vendor.com/class=device: %w", name, lifecycle.ErrInvalid)
	}
	return kind, device, nil
}

// isKind: "vendor.com/class".
func isKind(kind string) bool {
	vendor, class, ok := strings.Cut(kind, "/")
	return ok && len(kind) <= 317 && isName(vendor, "_-.", true) && isName(class, "_-.", true)
}

// isName: letters, digits and the others, beginning (with a letter, where that is said) and
// ending with none of the others.
func isName(s, others string, letterFirst bool) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	first, last := s[0], s[len(s)-1]
	if !letter(first) && (letterFirst || !digit(first)) || !letter(last) && !digit(last) {
		return false
	}
	for i := range len(s) {
		if !letter(s[i]) && !digit(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return false
		}
	}
	return true
}
