package layers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix" // openat, readlinkat
)

// ReadFile reads a regular file of the merged view of layers (names below base, top-most
// first), at most limit bytes; more is an error, and so is anything but a regular file.
// The merge follows overlayfs.rst by looking into the directories themselves: this needs
// no mount, no capability and no particular kernel. Links are resolved inside the merged
// root. fs.ErrNotExist when there is no such file.
func ReadFile(base string, names []string, path string, limit int64) ([]byte, error) {
	f, err := openMerged(base, names, path)
	if err != nil {
		return nil, &os.PathError{Op: "open in image", Path: path, Err: err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%q in image has more than %d bytes: %w", path, limit, ErrLimit)
	}
	return data, nil
}

// mergedDir is one directory of the merged view: its layers' directories, top first.
type mergedDir []int

func (d mergedDir) close() {
	for _, fd := range d {
		unix.Close(fd)
	}
}

func openRoots(base string, names []string) (mergedDir, error) {
	var root mergedDir
	for _, n := range names {
		fd, err := unix.Open(filepath.Join(base, n), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			root.close()
			return nil, err
		}
		root = append(root, fd)
	}
	return root, nil
}

// openMerged walks the path from the root for every link it meets; ".." is resolved by
// keeping the names walked.
func openMerged(base string, names []string, path string) (*os.File, error) {
	todo := strings.Split(path, "/")
	var done []string // directories walked, no links, no dots
	for links := 0; ; {
		f, rest, link, err := walk(base, names, &done, todo)
		if err != nil || f != nil {
			return f, err
		}
		if link != "." { // also the mark of a ".."
			links++
		}
		if links > 40 { // path_resolution(7)
			return nil, unix.ELOOP
		}
		if strings.HasPrefix(link, "/") {
			done = nil
		}
		todo = append(strings.Split(link, "/"), rest...)
		if len(link) > maxName || len(todo) > maxName {
			return nil, unix.ENAMETOOLONG
		}
	}
}

// walk goes from the root over done and todo until a file (f), or a link to go on with.
func walk(base string, names []string, done *[]string, todo []string) (f *os.File, rest []string, link string, err error) {
	path := append(append([]string{}, *done...), todo...)
	cur, err := openRoots(base, names)
	if err != nil {
		return nil, nil, "", err
	}
	defer func() { cur.close() }()
	*done = (*done)[:0]
	for i, c := range path {
		switch c {
		case "", ".":
			continue
		case "..":
			// Start over, one name shorter.
			up := append([]string{}, (*done)[:max(len(*done)-1, 0)]...)
			*done = up
			return nil, path[i+1:], ".", nil
		}
		found, err := cur.lookup(c)
		if err != nil {
			return nil, nil, "", err
		}
		switch {
		case found.dir != nil:
			cur.close()
			cur = found.dir
			*done = append(*done, c)
		case found.link != "":
			return nil, path[i+1:], found.link, nil
		case strings.Join(path[i+1:], "") != "": // something below a file
			return nil, nil, "", unix.ENOTDIR
		default:
			f, err := openRegular(found.at, c)
			return f, nil, "", err
		}
	}
	return nil, nil, "", unix.EISDIR
}

type foundEntry struct {
	dir  mergedDir
	link string
	at   int // the layer's directory that has the file
}

// lookup finds name in a merged directory: the top-most layer that has it decides, and
// directories merge downwards until an opaque one or something that is no directory.
func (d mergedDir) lookup(name string) (foundEntry, error) {
	var out mergedDir
	for _, fd := range d {
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			out.close()
			return foundEntry{}, err
		}
		if isWhiteout(&st) {
			break
		}
		if typ := st.Mode & unix.S_IFMT; typ != unix.S_IFDIR {
			if out != nil {
				break
			}
			if typ == unix.S_IFLNK {
				link, err := readlinkat(fd, name)
				return foundEntry{link: link}, err
			}
			return foundEntry{at: fd}, nil
		}
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			out.close()
			return foundEntry{}, err
		}
		out = append(out, sub)
		if isOpaque(sub) {
			break
		}
	}
	if out == nil {
		return foundEntry{}, fs.ErrNotExist
	}
	return foundEntry{dir: out}, nil
}

func isOpaque(fd int) bool {
	var v [1]byte
	n, err := unix.Fgetxattr(fd, overlayOpaque, v[:])
	return err == nil && n == 1 && v[0] == 'y'
}

func readlinkat(fd int, name string) (string, error) {
	var buf [maxName]byte
	n, err := unix.Readlinkat(fd, name, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// openRegular refuses what is not a regular file before opening could do anything: a
// device or a fifo of an image is never opened.
func openRegular(dirfd int, name string) (*os.File, error) {
	fd, err := unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("not a regular file: %w", unix.EINVAL)
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}
