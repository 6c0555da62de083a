package cdi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is far above any real file, which names a few dozen devices.
const maxFile = 4 << 20

// file is a CDI file, as the specification's JSON has it.
type file struct {
	Version        string            `json:"cdiVersion"`
	Kind           string            `json:"kind"`
	Annotations    map[string]string `json:"annotations"`
	Devices        []device          `json:"devices"`
	ContainerEdits edits             `json:"containerEdits"`
}

type device struct {
	Name           string            `json:"name"`
	Annotations    map[string]string `json:"annotations"`
	ContainerEdits edits             `json:"containerEdits"`
}

// place is where a device was found; conflict is why it cannot be had.
type place struct {
	file     *file
	edits    edits
	conflict error
	dir      int
	path     string
}

// read indexes all devices of all directories by qualified name. A file that cannot be used takes
// only its own devices away; why is told beside.
func read(dirs []string) (map[string]place, []error) {
	found := map[string]place{}
	var faults []error
	for i, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); e.IsDir() || ext != ".json" && ext != ".yaml" {
				continue
			}
			path := filepath.Join(dir, e.Name())
			f, err := load(path)
			if err != nil {
				faults = append(faults, fmt.Errorf("CDI file %s: %w", path, err))
				continue
			}
			index(found, f, i, path)
		}
	}
	return found, faults
}

// index enters a file's devices. Two of one name in one directory are none: nobody could say
// which of them was meant.
func index(found map[string]place, f *file, dir int, path string) {
	for _, d := range f.Devices {
		name := f.Kind + "=" + d.Name
		p := place{file: f, edits: d.ContainerEdits, dir: dir, path: path}
		if old, ok := found[name]; ok && old.dir == dir {
			p.conflict = fmt.Errorf("CDI device %s is in %s and in %s", name, old.path, path)
		}
		found[name] = p
	}
}

// load reads and checks one file, JSON or YAML by its name. Fields that are not of CDI are
// faults: what they ask for would be left out.
func load(path string) (*file, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(path) == ".yaml" {
		var tree any
		if err := yaml.Unmarshal(data, &tree); err != nil {
			return nil, err
		}
		if data, err = json.Marshal(tree); err != nil {
			return nil, err
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	f := &file{}
	if err := d.Decode(f); err != nil {
		return nil, err
	}
	return f, f.check()
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	return data, err
}

func (f *file) check() error {
	// 0.3.0 is the first that has this form; later versions only added fields.
	major, minor, _ := strings.Cut(strings.TrimPrefix(f.Version, "v"), ".")
	if major != "1" && (major != "0" || strings.HasPrefix(minor, "1.") || strings.HasPrefix(minor, "2.")) {
		return fmt.Errorf("cdiVersion %q is not known", f.Version)
	}
	if !isKind(f.Kind) {
		return fmt.Errorf("kind %q is not like vendor.com/class", f.Kind)
	}
	if len(f.Devices) == 0 {
		return errors.New("no devices")
	}
	if err := f.ContainerEdits.check(); err != nil {
		return fmt.Errorf("containerEdits: %w", err)
	}
	seen := map[string]bool{}
	for i, d := range f.Devices {
		if !isName(d.Name, "_-.:", false) || seen[d.Name] {
			return fmt.Errorf("devices[%d].name %q: no name, or given twice", i, d.Name)
		}
		seen[d.Name] = true
		if err := d.ContainerEdits.check(); err != nil {
			return fmt.Errorf("devices[%d] (%s): %w", i, d.Name, err)
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
