package mounts

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cri/slipway/oci/initconf"
	"github.com/slipway-cri/slipway/oci/kernel"
)

var errNotNull = errors.New("not the null device (char 1:3)")

// takeSources clones the sources of all binds from the host's view. Those that are to be
// shared with the host or to receive its mounts are cloned first, while they still are in
// the host's peer groups; then the namespace is cut off from the host, so that nothing
// mounted here can appear there.
func (x *Executor) takeSources(c *initconf.Config) error {
	x.sources = make([]int, len(c.Mounts))
	for i := range c.Mounts {
		x.sources[i] = -1
		if c.Mounts[i].SourceFD != 0 {
			x.sources[i] = c.Mounts[i].SourceFD
		}
	}
	for i := range c.Mounts {
		if m := &c.Mounts[i]; x.sources[i] < 0 && isBind(m) && propagates(m) {
			if err := x.takeSource(i, m); err != nil {
				return err
			}
		}
	}
	p := uint64(unix.MS_PRIVATE | unix.MS_REC)
	if c.Root.Propagation&(unix.MS_SLAVE|unix.MS_SHARED) != 0 {
		p = unix.MS_SLAVE | unix.MS_REC
	}
	if err := x.propagate(unix.AT_FDCWD, "/", p); err != nil {
		return &Error{Step: "propagation", Path: "/", Err: err}
	}
	x.private = p&unix.MS_PRIVATE != 0
	for i := range c.Mounts {
		if m := &c.Mounts[i]; x.sources[i] < 0 && isBind(m) && !propagates(m) {
			if err := x.takeSource(i, m); err != nil {
				return err
			}
		}
	}
	if err := x.takeLayers(c.Mounts); err != nil {
		return err
	}
	if len(c.MaskedPaths) == 0 {
		return nil
	}
	return x.takeNull()
}

func (x *Executor) takeSource(i int, m *initconf.Mount) error {
	tree, err := x.k.Tree(unix.AT_FDCWD, m.Source, m.Flags&unix.MS_REC != 0)
	if err == nil {
		x.sources[i] = tree
		return nil
	}
	if m.Optional && missing(err) {
		return nil
	}
	return &Error{Step: "bind", Path: m.Destination, Message: "source " + m.Source, Err: err}
}

// takeNull opens the host's /dev/null, never the container's: a link in its place would
// turn every mask into a mount of the attacker's choice (CVE-2025-31133).
func (x *Executor) takeNull() error {
	fd, err := x.k.Open(unix.AT_FDCWD, "/dev/null", unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return &Error{Step: "mask", Path: "/dev/null", Message: "of the host", Err: err}
	}
	st, err := x.k.Stat(fd)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3)) {
		err = errNotNull
	}
	if err != nil {
		return &Error{Step: "mask", Path: "/dev/null", Message: "of the host", Err: err}
	}
	x.null = fd
	return nil
}

func isBind(m *initconf.Mount) bool { return m.Type == "bind" || m.Flags&unix.MS_BIND != 0 }

func propagates(m *initconf.Mount) bool {
	for _, p := range m.Propagation {
		if p&(unix.MS_SHARED|unix.MS_SLAVE) != 0 {
			return true
		}
	}
	return false
}

// makeRoot mounts the root on a directory of the host's tree, visible in this namespace
// only, and opens it.
func (x *Executor) makeRoot(r *initconf.Root) error {
	switch {
	case r.FD != 0:
		return x.attachRoot(r.FD, "/proc") // any directory will do
	case len(r.Lower) == 0:
		return x.bindRoot(r.Bind)
	case len(r.Lower) == 1 && r.Upper == "":
		// An overlay of one layer and nothing above it is refused by the kernel.
		if err := x.bindRoot(r.LowerBase + "/" + r.Lower[0]); err != nil {
			return err
		}
		x.late = append(x.late, later{x.root, "/", unix.MOUNT_ATTR_RDONLY})
		return nil
	}
	target := r.Upper
	if target == "" {
		target = r.LowerBase + "/" + r.Lower[0]
	}
	if err := x.overlay("/", r, target); err != nil {
		return err
	}
	fd, err := x.k.Open(unix.AT_FDCWD, target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return &Error{Step: "overlay", Path: "/", Message: target, Err: err}
	}
	x.root = fd
	return nil
}

// overlay mounts r on target for what is to be p in the container.
func (x *Executor) overlay(p string, r *initconf.Root, target string) error {
	options := overlayOptions(r)
	if len(options) >= syscall.Getpagesize() { // mount(2) would cut it off without a word
		return &Error{Step: "overlay", Path: p, Message: "options exceed a page: too many layers", Err: syscall.E2BIG}
	}
	if err := x.k.Overlay(r.LowerBase, target, options); err != nil {
		return &Error{Step: "overlay", Path: p, Message: options + " in " + r.LowerBase, Err: err}
	}
	return nil
}

func (x *Executor) bindRoot(source string) error {
	tree, err := x.k.Tree(unix.AT_FDCWD, source, true)
	if err != nil {
		return &Error{Step: "bind", Path: "/", Message: "source " + source, Err: err}
	}
	return x.attachRoot(tree, source)
}

// attachRoot puts the root on a directory of the host's tree.
func (x *Executor) attachRoot(tree int, target string) error {
	at, err := x.k.Open(unix.AT_FDCWD, target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return &Error{Step: "bind", Path: "/", Message: "on " + target, Err: err}
	}
	defer x.k.Close(at)
	if err := x.k.Attach(tree, at); err != nil {
		return &Error{Step: "bind", Path: "/", Message: "on " + target, Err: err}
	}
	x.root = tree
	return nil
}

// overlayOptions is the data of mount(2) (Documentation/filesystems/overlayfs.rst): a
// backslash protects what separates options and, in lowerdir, layers.
func overlayOptions(r *initconf.Root) string {
	option := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	layer := strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`)
	var b strings.Builder
	b.WriteString("lowerdir=")
	for i, l := range r.Lower {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(layer.Replace(l))
	}
	if r.Upper != "" {
		b.WriteString(",upperdir=" + option.Replace(r.Upper) + ",workdir=" + option.Replace(r.Work))
	}
	if r.OverlayOptions != "" {
		b.WriteString("," + r.OverlayOptions)
	}
	if r.Label != "" {
		b.WriteString(`,context="` + r.Label + `"`)
	}
	return b.String()
}

// splitOptions turns a mount's data string into parameters; a comma between double
// quotes (an SELinux context) does not separate, and the quotes go.
func splitOptions(data string) []kernel.Option {
	var out []kernel.Option
	for data != "" {
		quoted, end := false, len(data)
		for i := range len(data) {
			if data[i] == '"' {
				quoted = !quoted
			} else if data[i] == ',' && !quoted {
				end = i
				break
			}
		}
		item := data[:end]
		data = strings.TrimPrefix(data[end:], ",")
		if item == "" {
			continue
		}
		key, value, found := strings.Cut(item, "=")
		out = append(out, kernel.Option{Key: key, Value: strings.Trim(value, `"`), Flag: !found})
	}
	return out
}
