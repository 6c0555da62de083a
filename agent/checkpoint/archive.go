package checkpoint

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// Limits bound what an archive may become on disk.
type Limits struct {
	Entries int   // files and directories
	Bytes   int64 // of all files together
}

const (
	maxName  = 1024
	maxDepth = 8
)

// Pack writes the plain files below dir as an uncompressed tar archive, names relative to it, mode 0600. Anything that
// Unpack would refuse is an error here.
func Pack(w io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	out := tar.NewWriter(w)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		return packOne(out, root, name, d)
	})
	if err != nil {
		return fmt.Errorf("pack %q: %w", dir, err)
	}
	return out.Close()
}

func packOne(out *tar.Writer, root *os.Root, name string, d fs.DirEntry) error {
	if d.IsDir() {
		return out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o700})
	}
	if !d.Type().IsRegular() {
		return fmt.Errorf("%q is a %s, not a plain file: %w", name, d.Type(), lifecycle.ErrInvalid)
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}

// Unpack makes the archive's files below dir, which exists and is empty, as 0600 and 0700 and the caller's own. Links,
// devices, fifos, sparse files, names that lead out, names that come twice and whatever is over the limits are
// lifecycle.ErrInvalid; all that was made is removed again on error (the trusted archives of
// CVE-2024-8676, CVE-2026-50195, CVE-2026-53489 and CVE-2026-53492).
func Unpack(r io.Reader, dir string, l Limits) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, empty(root))
		}
	}()
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("checkpoint archive: %w: %w", err, lifecycle.ErrInvalid)
		}
		if err := l.take(h); err != nil {
			return fmt.Errorf("checkpoint archive: %w", err)
		}
		if err := unpackOne(root, in, h); err != nil {
			return fmt.Errorf("checkpoint archive: %q: %w", h.Name, err)
		}
	}
}

func (l *Limits) take(h *tar.Header) error {
	l.Entries--
	if l.Entries < 0 {
		return fmt.Errorf("too many entries: %w", lifecycle.ErrInvalid)
	}
	if h.Size < 0 || h.Size > l.Bytes {
		return fmt.Errorf("%q: larger than what is allowed together: %w", h.Name, lifecycle.ErrInvalid)
	}
	l.Bytes -= h.Size
	return nil
}

// checkName wants the one way to write a path below the directory.
func checkName(name string) error {
	if !fs.ValidPath(name) || path.Clean(name) != name || len(name) > maxName || strings.Count(name, "/") >= maxDepth ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return fmt.Errorf("not a name below the archive's directory: %w", lifecycle.ErrInvalid)
	}
	return nil
}

func unpackOne(root *os.Root, in io.Reader, h *tar.Header) error {
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if name == "." && h.Typeflag == tar.TypeDir {
		return nil
	}
	name = strings.TrimPrefix(name, "./")
	if err := checkName(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o700)
	case tar.TypeReg:
	default:
		return fmt.Errorf("entry of type %q: only files and directories are allowed: %w", h.Typeflag, lifecycle.ErrInvalid)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return fmt.Errorf("a sparse file: %w", lifecycle.ErrInvalid)
		}
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("it comes twice: %w", lifecycle.ErrInvalid)
	}
	if err != nil {
		return err
	}
	n, err := io.Copy(f, in)
	if err == nil && n != h.Size {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", err, lifecycle.ErrInvalid)
	}
	return errors.Join(err, f.Close())
}

// empty removes all that is in the directory and leaves it.
func empty(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, root.RemoveAll(e.Name()))
	}
	return errors.Join(errs...)
}
