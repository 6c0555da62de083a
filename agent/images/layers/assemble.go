package layers

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix" // openat2
)

// Assemble writes the uncompressed tar of the layer in dir (what Unpack filled), root
// being where RootDir is now. The bytes are those that were unpacked unless somebody
// changed the files: compare the digest.
func Assemble(w io.Writer, dir, root string) error {
	f, err := os.Open(filepath.Join(dir, RecipeFile))
	if err != nil {
		return err
	}
	defer f.Close()
	rr, err := newRecipeReader(f)
	if err != nil {
		return err
	}
	rootfd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(rootfd)
	a := assembler{w: w, root: rootfd, displaced: filepath.Join(dir, DisplacedDir), buf: make([]byte, chunkSize)}
	if err := a.loadDisplaced(); err != nil {
		return err
	}
	for {
		rec, err := rr.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.write(rec); err != nil {
			return err
		}
	}
}

type assembler struct {
	w         io.Writer
	root      int
	displaced string
	keys      map[string]bool // hash-n names that exist
	hashes    map[string]bool // their hashes
	seen      map[string]int  // by canonical path, of those whose hash is in hashes
	buf       []byte
}

func (a *assembler) loadDisplaced() error {
	entries, err := os.ReadDir(a.displaced)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	a.keys, a.hashes, a.seen = map[string]bool{}, map[string]bool{}, map[string]int{}
	for _, e := range entries {
		a.keys[e.Name()] = true
		hash, _, _ := strings.Cut(e.Name(), "-")
		a.hashes[hash] = true
	}
	return nil
}

func (a *assembler) write(rec recipeRecord) error {
	switch rec.kind {
	case recipeRaw:
		_, err := a.w.Write(rec.body)
		return err
	case recipeName:
		a.source(string(rec.body))
		return nil
	case recipeFile:
		name := string(rec.body)
		key := a.source(name)
		if rec.size == 0 {
			return nil
		}
		return a.copyFile(name, key, rec.size)
	}
	return fmt.Errorf("recipe: record of kind %q: %w", rec.kind, ErrInvalid)
}

// source returns the displaced file that holds this occurrence of the path, or "".
func (a *assembler) source(name string) string {
	if a.keys == nil {
		return ""
	}
	key := displacedKey(name, a.seen[name])
	if hash, _, _ := strings.Cut(key, "-"); !a.hashes[hash] {
		return ""
	}
	a.seen[name]++
	if a.keys[key] {
		return key
	}
	return ""
}

func (a *assembler) copyFile(name, key string, size int64) error {
	var f *os.File
	if key != "" {
		var err error
		if f, err = os.Open(filepath.Join(a.displaced, key)); err != nil {
			return err
		}
	} else {
		fd, err := unix.Openat2(a.root, name, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC, // a fifo in its place must not hang
			Resolve: inRoot | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			return &os.PathError{Op: "openat2", Path: name, Err: err}
		}
		f = os.NewFile(uintptr(fd), name)
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{a.w}, io.LimitReader(f, size), a.buf)
	if err == nil && n != size {
		err = fmt.Errorf("%q has %d of %d bytes: %w", name, n, size, io.ErrUnexpectedEOF)
	}
	return err
}
