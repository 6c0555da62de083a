package ocispec

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// volumes are the image's VOLUMEs as binds of empty directories. They come from the image, so
// they are cleaned inside the root (CVE-2022-23648), and one at or below a default mount gives
// way to it: an image must not put a directory in the place of /proc. systemd images name
// /sys/fs/cgroup, which is why that is no error.
func (b *builder) volumes(requested []specs.Mount) ([]specs.Mount, error) {
	seen := make(map[string]bool)
	for v := range b.image.Volumes {
		dest := path.Clean("/" + v)
		if dest == "/" || strings.ContainsRune(dest, 0) {
			return nil, invalid("image VOLUME", "%q is no path below the root", v)
		}
		hidden := slices.ContainsFunc(b.defaultMounts(), func(m specs.Mount) bool { return within(dest, m.Destination) })
		taken := slices.ContainsFunc(requested, func(m specs.Mount) bool { return m.Destination == dest })
		if !hidden && !taken {
			seen[dest] = true
		}
	}
	var list []specs.Mount
	b.out.Volumes = slices.Sorted(maps.Keys(seen))
	if b.in.VolumeDir == "" {
		return nil, nil
	}
	for i, dest := range b.out.Volumes {
		list = append(list, specs.Mount{
			Destination: dest, Type: "bind",
			Source:  path.Join(b.in.VolumeDir, strconv.Itoa(i)),
			Options: []string{"rbind", "rprivate", "rw"},
		})
		if b.maps != nil {
			m := &list[len(list)-1]
			m.UIDMappings, m.GIDMappings = b.maps.UIDs, b.maps.GIDs
		}
	}
	return list, nil
}
