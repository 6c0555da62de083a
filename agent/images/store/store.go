package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// Directories below the store's root.
const (
	lowerDir   = "l"      // what overlayfs gets: one directory a layer, by its name
	layerDir   = "layers" // the layer's record, its recipe and displaced files, by the same name
	imageDir   = "images" // one record an image
	tmpDir     = "tmp"    // unfinished; emptied at start
	asideDir   = "aside"  // records that did not parse
	recordFile = "record"
	// EmptyLower is an empty directory beside the layers, for an image without any.
	EmptyLower = "empty"
)

// Options of Open.
type Options struct {
	Dir string
	// Boot identifies this boot of the machine; /proc/sys/kernel/random/boot_id if "".
	Boot string
	// View makes Image.View when an image enters the index; an error keeps it out.
	View func(*Image) (any, error)
}

// Store is an open store. One process has it open at a time.
type Store struct {
	dir   string
	boot  string
	view  func(*Image) (any, error)
	index atomic.Pointer[index]

	mu     sync.Mutex
	layers map[string]*Layer   // by name
	held   map[string]int      // how many pulls in progress and users count on a layer, by name
	users  map[string][]string // user → names it holds
	tmpSeq int
	dead   []string // directories in tmp that Reap removes
	reaper sync.WaitGroup

	used   atomic.Int64
	inodes atomic.Int64
	making keyed // one unpack a layer at a time
	flush  syncer
}

// Open reads the store, making it when it is not there. What is damaged or unfinished is
// put aside or removed with a warning, never an error.
func Open(o Options) (*Store, error) {
	s := &Store{dir: o.Dir, boot: o.Boot, view: o.View, layers: map[string]*Layer{}, held: map[string]int{}, users: map[string][]string{}}
	if s.boot == "" {
		b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return nil, err
		}
		s.boot = strings.TrimSpace(string(b))
	}
	if err := s.makeDirs(); err != nil {
		return nil, fmt.Errorf("image store %q: %w", o.Dir, err)
	}
	if err := s.loadLayers(); err != nil {
		return nil, fmt.Errorf("image store %q: %w", o.Dir, err)
	}
	images, err := s.loadImages()
	if err != nil {
		return nil, fmt.Errorf("image store %q: %w", o.Dir, err)
	}
	s.index.Store(newIndex(images))
	s.flush.start(s)
	s.mu.Lock()
	s.collect()
	s.mu.Unlock()
	s.Reap()
	return s, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// Base is the directory in which the names of layers are.
func (s *Store) Base() string { return s.path(lowerDir) }

func (s *Store) makeDirs() error {
	for _, d := range []string{"", lowerDir, layerDir, imageDir, tmpDir, asideDir} {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			return err
		}
		// Also after an upgrade from looser modes.
		if err := os.Chmod(s.path(d), 0o700); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.path(lowerDir, EmptyLower), 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	left, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return err
	}
	for _, e := range left {
		logrus.WithField("path", s.path(tmpDir, e.Name())).Info("removing an unfinished pull")
		s.remove(s.path(tmpDir, e.Name()))
	}
	return nil
}

// remove is for garbage: what cannot be removed now is tried again at the next start.
func (s *Store) remove(path string) {
	if err := os.RemoveAll(path); err != nil {
		logrus.WithField("path", path).WithError(err).Warn("image store: remove")
	}
}

func (s *Store) loadLayers() error {
	entries, err := os.ReadDir(s.path(layerDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		l, err := s.readLayer(name)
		if err != nil {
			logrus.WithField("layer", name).WithError(err).Warn("dropping a layer")
			s.remove(s.path(lowerDir, name))
			s.remove(s.path(layerDir, name))
			continue
		}
		s.layers[name] = l
		s.account(l, 1)
	}
	lowers, err := os.ReadDir(s.path(lowerDir))
	if err != nil {
		return err
	}
	for _, e := range lowers {
		if s.layers[e.Name()] == nil && e.Name() != EmptyLower {
			s.remove(s.path(lowerDir, e.Name())) // its record was never written
		}
	}
	return nil
}

func (s *Store) readLayer(name string) (*Layer, error) {
	data, err := os.ReadFile(s.path(layerDir, name, recordFile))
	if err != nil {
		return nil, err
	}
	var l Layer
	if err := decodeRecord("layer", data, &l); err != nil {
		return nil, err
	}
	if l.Name != name || l.DiffID.Validate() != nil {
		return nil, fmt.Errorf("record names layer %q, %q", l.Name, l.DiffID)
	}
	if l.Boot != "" && l.Boot != s.boot {
		return nil, errors.New("its contents were not yet on the disk when the machine went down")
	}
	fi, err := os.Lstat(s.path(lowerDir, name))
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, errors.New("not a directory")
	}
	return &l, nil
}

func (s *Store) loadImages() ([]*Image, error) {
	entries, err := os.ReadDir(s.path(imageDir))
	if err != nil {
		return nil, err
	}
	var out []*Image
	for _, e := range entries {
		path := s.path(imageDir, e.Name())
		if strings.HasSuffix(e.Name(), ".new") {
			s.remove(path)
			continue
		}
		img, err := s.readImage(path)
		if err != nil {
			logrus.WithField("path", path).WithError(err).Warn("putting an image record aside")
			if err := os.Rename(path, s.path(asideDir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if missing := s.missing(img); missing != "" {
			logrus.WithFields(logrus.Fields{"image": img.ID, "layer": missing}).Warn("dropping an image whose layer is gone")
			s.remove(path)
			continue
		}
		s.used.Add(onDisk(int64(len(img.Config))))
		s.inodes.Add(1)
		out = append(out, img)
	}
	return out, nil
}

func (s *Store) missing(img *Image) string {
	for _, name := range img.Layers {
		if s.layers[name] == nil {
			return name
		}
	}
	return ""
}

func (s *Store) readImage(path string) (*Image, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var img Image
	if err := decodeRecord("image", data, &img); err != nil {
		return nil, err
	}
	if digest.FromBytes(img.Config) != img.ID || len(img.Layers) != len(img.DiffIDs) {
		return nil, errors.New("configuration and layers do not belong to the id")
	}
	return &img, s.complete(&img)
}

// complete fills in what is derived.
func (s *Store) complete(img *Image) (err error) {
	img.Size = int64(len(img.Config))
	seen := map[string]bool{}
	for _, name := range img.Layers {
		if l := s.layers[name]; l != nil && !seen[name] {
			img.Size += l.Size
			seen[name] = true
		}
	}
	if s.view != nil {
		img.View, err = s.view(img)
	}
	return err
}

func (s *Store) account(l *Layer, sign int64) {
	s.used.Add(sign * l.Size)
	s.inodes.Add(sign * l.Inodes)
}

func onDisk(n int64) int64 { return (n + 4095) &^ 4095 }

// Used returns the bytes and inodes on disk, kept as layers come and go.
func (s *Store) Used() (bytes, inodes int64) { return s.used.Load(), s.inodes.Load() }

// Close waits for the write-out under way and ends.
func (s *Store) Close() error {
	s.flush.stop()
	s.reaper.Wait()
	return nil
}
