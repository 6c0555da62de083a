package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix" // openat, fsync on descriptors
)

// syncer writes layers out to the disk after they are in use, one at a time. Until it is
// done with a layer, the layer's record names the boot that made it, so that a power loss
// takes the layer and its images away as a whole. fsync of what was written, not syncfs:
// that would wait for everybody's dirty pages. And not during a pull: each fsync ends a
// journal transaction that the unpacking of other layers is part of.
type syncer struct {
	mu     sync.Mutex
	queue  []string
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
	idle   *sync.Cond // queue empty and nothing under way
	busy   bool
	pulls  int
}

func (y *syncer) start(s *Store) {
	var ctx context.Context
	ctx, y.cancel = context.WithCancel(context.Background())
	y.wake, y.done, y.idle = make(chan struct{}, 1), make(chan struct{}), sync.NewCond(&y.mu)
	for name, l := range s.layers {
		if l.Boot != "" {
			y.queue = append(y.queue, name) // the agent ended before it was done
		}
	}
	y.wake <- struct{}{}
	go func() {
		defer close(y.done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-y.wake:
				y.drain(ctx, s)
			}
		}
	}()
}

func (y *syncer) add(name string) {
	y.mu.Lock()
	y.queue = append(y.queue, name)
	y.mu.Unlock()
}

// pause counts pulls in (1) and out (-1).
func (y *syncer) pause(n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.pulls += n; y.pulls == 0 {
		select {
		case y.wake <- struct{}{}:
		default:
		}
	}
}

func (y *syncer) drain(ctx context.Context, s *Store) {
	for {
		y.mu.Lock()
		if len(y.queue) == 0 || y.pulls > 0 || ctx.Err() != nil {
			y.busy = false
			y.idle.Broadcast()
			y.mu.Unlock()
			return
		}
		name := y.queue[0]
		y.queue, y.busy = y.queue[1:], true
		y.mu.Unlock()
		if err := s.writeOut(ctx, name); err != nil && ctx.Err() == nil {
			logrus.WithField("layer", name).WithError(err).Warn("write a layer out to the disk; it will not survive a power loss")
		}
	}
}

func (y *syncer) stop() {
	y.cancel()
	<-y.done
}

// Sync waits until all layers are on the disk.
func (s *Store) Sync() {
	s.flush.mu.Lock()
	for s.flush.busy || len(s.flush.queue) > 0 {
		s.flush.idle.Wait()
	}
	s.flush.mu.Unlock()
}

func (s *Store) writeOut(ctx context.Context, name string) error {
	for _, dir := range []string{s.path(lowerDir, name), s.path(layerDir, name)} {
		if err := syncTree(ctx, dir); err != nil {
			return s.unlessGone(name, err)
		}
	}
	for _, dir := range []string{s.path(lowerDir), s.path(layerDir)} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	s.mu.Lock()
	l := s.layers[name]
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	done := *l
	done.Boot = ""
	if err := writeRecord(s.path(layerDir, name, recordFile), "layer", &done); err != nil {
		return s.unlessGone(name, err)
	}
	s.mu.Lock()
	if s.layers[name] == l {
		s.layers[name] = &done
	}
	s.mu.Unlock()
	return nil
}

func (s *Store) unlessGone(name string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.layers[name] == nil && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncTree fsyncs every regular file and directory below dir, a few at once, since the
// file system joins their journal commits (ext4: 8,000 files of 18 KB in 0.5 s).
func syncTree(ctx context.Context, dir string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	err = syncDirFD(ctx, g, os.NewFile(uintptr(fd), dir))
	if werr := g.Wait(); err == nil {
		err = werr
	}
	return err
}

func syncDirFD(ctx context.Context, g *errgroup.Group, d *os.File) error {
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.IsDir() && !e.Type().IsRegular() {
			continue
		}
		fd, err := unix.Openat(int(d.Fd()), e.Name(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: d.Name() + "/" + e.Name(), Err: err}
		}
		if e.IsDir() {
			if err := syncDirFD(ctx, g, os.NewFile(uintptr(fd), d.Name()+"/"+e.Name())); err != nil {
				return err
			}
			continue
		}
		g.Go(func() error {
			defer unix.Close(fd)
			return os.NewSyscallError("fsync", unix.Fsync(fd))
		})
	}
	return d.Sync()
}
