package layers

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix" // write, ftruncate on raw descriptors
)

// The parts of a layer in its directory.
const (
	RootDir      = "fs"        // what overlayfs gets
	RecipeFile   = "recipe.gz" // how to make the tar again from RootDir
	DisplacedDir = "displaced" // files that a later entry of the layer replaced, for the recipe
)

// Result is what is known of a layer once all of it was read.
type Result struct {
	Digest     digest.Digest // of the stream as given
	DiffID     digest.Digest // of the uncompressed stream
	Compressed int64         // bytes of the stream as given
	TarSize    int64         // bytes of the uncompressed stream
	Size       int64         // bytes on disk, in blocks of 4096
	Inodes     int64
	// Implicit lists directories that no entry named, made because something is in them,
	// canonical and sorted, "." for the root: their mode and owner are those of the layers below.
	Implicit []string
}

// Options of one Unpack.
type Options struct {
	Limits   Limits
	Progress func(compressed int64) // called from another goroutine; may be nil
}

type unpacker struct {
	*tree
	lim       Limits
	recipe    *recipeWriter
	displaced displaced
	dirs      []lateDir
	buf       []byte
	rootSeen  bool
	size      int64
	inodes    int64
	logical   int64
}

// Unpack reads a layer (tar; plain, gzip or zstd) and fills dir, an empty directory,
// with RootDir, RecipeFile and maybe DisplacedDir. It reads r to its end and closes it.
// Nothing is verified here: compare Result with what was promised before using dir.
// Errors wrap ErrInvalid or ErrLimit when the layer is to blame.
func Unpack(ctx context.Context, r io.ReadCloser, dir string, o Options) (res Result, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx) // the stages only know that they were stopped
		}
	}()
	rootDir := filepath.Join(dir, RootDir)
	if err := os.Mkdir(rootDir, 0o755); err != nil {
		r.Close()
		return Result{}, err
	}
	lim := o.Limits.withDefaults()
	s, err := open(ctx, r, lim, o.Progress)
	if err != nil {
		return Result{}, err
	}
	defer s.stop()
	recipe, err := os.OpenFile(filepath.Join(dir, RecipeFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Result{}, err
	}
	defer recipe.Close()
	t, err := openTree(rootDir)
	if err != nil {
		return Result{}, err
	}
	defer t.close()
	if err := unix.Fchmod(t.root, 0o755); err != nil { // whatever the umask is
		return Result{}, os.NewSyscallError("fchmod", err)
	}
	u := &unpacker{tree: t, lim: lim, recipe: newRecipeWriter(recipe), buf: make([]byte, chunkSize), size: onDisk(1), inodes: 1,
		displaced: displaced{dir: filepath.Join(dir, DisplacedDir), fd: -1, counts: map[string]int{}}}
	defer u.displaced.close()
	if err := u.run(s); err != nil {
		return Result{}, err
	}
	if err := s.drain(); err != nil {
		return Result{}, err
	}
	return u.result(s), nil
}

func (u *unpacker) result(s *stream) Result {
	res := Result{
		Digest:     digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(s.compressed.Sum(nil))),
		DiffID:     digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(s.uncompressed.Sum(nil))),
		Compressed: s.in.Load(),
		TarSize:    s.out.Load(),
		Size:       u.size + u.displaced.bytes + u.made*onDisk(1),
		Inodes:     u.inodes + u.displaced.files + u.made,
	}
	if !u.rootSeen {
		res.Implicit = append(res.Implicit, ".")
	}
	for name := range u.implicit {
		res.Implicit = append(res.Implicit, name)
	}
	slices.Sort(res.Implicit)
	return res
}

// run unpacks all entries and writes the recipe.
func (u *unpacker) run(s *stream) error {
	acc := &account{r: s.flow, recipe: u.recipe, raw: true}
	tr := tar.NewReader(acc)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return tarError("", err)
		}
		if n >= u.lim.Entries {
			return fmt.Errorf("more than %d entries: %w", u.lim.Entries, ErrLimit)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if u.logical += h.Size; u.logical > u.lim.Bytes || u.logical < 0 {
			return fmt.Errorf("files of more than %d bytes: %w", u.lim.Bytes, ErrLimit)
		}
		// The contents of plain files come from the directory again; all else is in the recipe.
		payload := payloadReader{tr, acc, !isSparse(h)}
		if err := u.apply(h, payload); err != nil {
			return tarError(h.Name, err)
		}
	}
	acc.raw = true
	if _, err := io.Copy(io.Discard, acc); err != nil { // padding after the end marker
		return err
	}
	if err := u.recipe.close(); err != nil {
		return fmt.Errorf("write %s: %w", RecipeFile, err)
	}
	return u.finishDirs()
}

// account passes what archive/tar reads on to the recipe, while raw is set. archive/tar
// never reads ahead of what it returns.
type account struct {
	r      io.Reader
	recipe *recipeWriter
	raw    bool
}

func (a *account) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if a.raw {
		a.recipe.addRaw(p[:n])
	}
	return n, err
}

// payloadReader leaves the bytes of a file's contents out of the recipe when plain.
type payloadReader struct {
	tr    *tar.Reader
	acc   *account
	plain bool
}

func (p payloadReader) Read(b []byte) (int, error) {
	p.acc.raw = !p.plain
	n, err := p.tr.Read(b)
	p.acc.raw = true
	return n, err
}

func (u *unpacker) write(fd int, r io.Reader) error {
	for {
		n, err := r.Read(u.buf)
		for b := u.buf[:n]; len(b) > 0; {
			k, err := unix.Write(fd, b)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return os.NewSyscallError("write", err)
			}
			b = b[k:]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// writeSparse leaves holes where a block is all zeros.
func (u *unpacker) writeSparse(fd int, size int64, r io.Reader) error {
	if err := unix.Ftruncate(fd, size); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	block := u.buf[:4096]
	for off := int64(0); ; {
		n, err := io.ReadFull(r, block)
		if b := block[:n]; !allZero(b) {
			if _, err := unix.Pwrite(fd, b, off); err != nil {
				return os.NewSyscallError("pwrite", err)
			}
		}
		off += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			if off != size {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// isSparse knows GNU's old format by its type and PAX's by its records.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func onDisk(size int64) int64 { return (size + 4095) &^ 4095 }

// tarError says which errors are the layer's fault.
func tarError(name string, err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	var errno unix.Errno
	if errors.As(err, &errno) && (errno == unix.ENAMETOOLONG || errno == unix.ENOTDIR || errno == unix.ELOOP || errno == unix.EINVAL) {
		err = fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if name == "" {
		return fmt.Errorf("tar: %w", err)
	}
	return fmt.Errorf("entry %q: %w", name, err)
}
