package stats

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sizeKept is how long a size counts as fresh.
	sizeKept = 10 * time.Second
	// sizeShare keeps measuring below one part in so many of the time, however large a
	// layer is.
	sizeShare = 20
	// sizeForgotten drops the size of a layer that nobody has asked for.
	sizeForgotten = 10 * time.Minute
)

// disk measures directories, one at a time in one goroutine that ends when there is
// nothing to do. Who asks gets the last size at once, fresh or not; only for one that was
// never measured it waits a moment.
type disk struct {
	mu      sync.Mutex
	dirs    map[string]*measured
	queue   []string
	working bool
	swept   time.Time
}

type size struct {
	bytes, inodes uint64
	at            time.Time // zero: not known yet
}

type measured struct {
	size
	next   time.Time     // when to measure again
	asked  time.Time     // when somebody wanted it last
	queued bool          // for the worker, or with it
	tried  bool          // once, with or without success
	first  chan struct{} // closed when it was tried
}

func (d *disk) size(dir string, until time.Time) size {
	now := time.Now()
	d.mu.Lock()
	d.sweep(now)
	m := d.dirs[dir]
	if m == nil {
		m = &measured{first: make(chan struct{})}
		if d.dirs == nil {
			d.dirs = map[string]*measured{}
		}
		d.dirs[dir] = m
	}
	m.asked = now
	if !m.queued && !now.Before(m.next) {
		m.queued = true
		d.queue = append(d.queue, dir)
		if !d.working {
			d.working = true
			go d.work()
		}
	}
	known, tried := m.size, m.tried
	d.mu.Unlock()
	if left := time.Until(until); !tried && left > 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		select {
		case <-m.first:
			d.mu.Lock()
			defer d.mu.Unlock()
			return m.size
		case <-t.C:
		}
	}
	return known
}

func (d *disk) work() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.working, d.queue = false, nil
			d.mu.Unlock()
			return
		}
		dir := d.queue[0]
		d.queue = d.queue[1:]
		m := d.dirs[dir]
		d.mu.Unlock()
		begun := time.Now()
		bytes, inodes, err := du(dir)
		took := time.Since(begun)
		d.mu.Lock()
		m.queued = false
		m.next = begun.Add(max(sizeKept, sizeShare*took))
		if err == nil {
			m.size = size{bytes: bytes, inodes: inodes, at: begun}
		}
		if !m.tried {
			m.tried = true
			close(m.first)
		}
		d.mu.Unlock()
	}
}

func (d *disk) sweep(now time.Time) {
	if now.Sub(d.swept) < time.Minute {
		return
	}
	d.swept = now
	for dir, m := range d.dirs {
		if !m.queued && now.Sub(m.asked) > sizeForgotten {
			delete(d.dirs, dir)
		}
	}
}

// du adds up the allocated bytes and the inodes at and below dir, hard links once. The
// tree is a container's, which may change it meanwhile: every directory is opened
// beneath dir without following a link (openat2(2)), and what vanishes is passed over.
func du(dir string) (bytes, inodes uint64, err error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root)
	w := &walker{root: root, seen: map[[2]uint64]bool{}}
	w.count(root, "")
	for len(w.dirs) > 0 {
		next := w.dirs[len(w.dirs)-1]
		w.dirs = w.dirs[:len(w.dirs)-1]
		if err := w.list(next); err != nil {
			return 0, 0, err
		}
	}
	return w.bytes, w.inodes, nil
}

type walker struct {
	root          int
	dirs          []string // still to list, relative to root
	seen          map[[2]uint64]bool
	bytes, inodes uint64
}

// count adds name in the directory fd, "" for fd itself, and says whether it is a directory.
func (w *walker) count(fd int, name string) (isDir bool) {
	var st unix.Stat_t
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
		w.dirs = append(w.dirs, ".")
	}
	if unix.Fstatat(fd, name, &st, flags) != nil {
		return false
	}
	isDir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !isDir && st.Nlink > 1 {
		key := [2]uint64{uint64(st.Dev), st.Ino}
		if w.seen[key] {
			return false
		}
		w.seen[key] = true
	}
	w.bytes += uint64(st.Blocks) * 512
	w.inodes++
	return isDir
}

func (w *walker) list(rel string) error {
	fd, err := unix.Openat2(w.root, rel, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		return &os.PathError{Op: "openat2", Path: rel, Err: err}
	case err != nil:
		return nil // gone, replaced by a link, or deeper than a path can say
	}
	f := os.NewFile(uintptr(fd), rel)
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			if w.count(fd, name) {
				w.dirs = append(w.dirs, filepath.Join(rel, name))
			}
		}
		if err != nil {
			return nil // io.EOF, or the directory vanished while it was read
		}
	}
}
