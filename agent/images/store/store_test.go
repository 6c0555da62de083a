package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/slipway-cri/slipway/agent/images/layers"
)

func openStore(t testing.TB, dir, boot string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// put commits an image of layers that hold one file each.
func put(t testing.TB, s *Store, n Names, layerNames ...string) *Image {
	t.Helper()
	h := s.Hold()
	defer h.Release()
	var list []*Layer
	for _, name := range layerNames {
		l, _, err := h.Layer(t.Context(), digest.FromString(name), fakeUnpack(name))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	img, err := h.Commit(t.Context(), fmt.Appendf(nil, "{%q:%q}", "n", layerNames), list, n)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func fakeUnpack(name string) func(string) (layers.Result, error) {
	return func(dir string) (layers.Result, error) {
		root := filepath.Join(dir, layers.RootDir)
		if err := os.Mkdir(root, 0o755); err != nil {
			return layers.Result{}, err
		}
		return layers.Result{DiffID: digest.FromString(name), Size: 8192, Inodes: 2}, os.WriteFile(filepath.Join(root, "f"), []byte(name), 0o644)
	}
}

func layerDirs(t *testing.T, s *Store) int {
	t.Helper()
	entries, err := os.ReadDir(s.Base())
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) - 1 // without the empty one
}

// TestPowerLoss: what was not on the disk yet when the boot ended is gone as a whole.
func TestPowerLoss(t *testing.T) {
	for name, synced := range map[string]bool{"written out": true, "not yet": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir, "boot-1")
			if !synced {
				s.flush.pause(1) // as if a pull went on
			}
			img := put(t, s, Names{Tag: "r/a:1"}, "a", "b")
			if synced {
				s.Sync()
			}
			s.Close()
			same := openStore(t, dir, "boot-1")
			if !synced {
				same.flush.pause(1)
			}
			if same.ByRef("r/a:1") == nil {
				t.Fatal("the image went with the process")
			}
			same.Close()
			if !synced {
				stale(t, dir, "boot-1")
			}
			next := openStore(t, dir, "boot-2")
			if got := next.ByID(img.ID.String()) != nil; got != synced {
				t.Errorf("image after the power loss: %v", got)
			}
			if used, inodes := next.Used(); !synced && (used != 0 || inodes != 0 || layerDirs(t, next) != 0) {
				t.Errorf("%d bytes, %d inodes, %d layers left", used, inodes, layerDirs(t, next))
			}
		})
	}
}

// stale marks all layers as not written out, whatever the syncer got done.
func stale(t *testing.T, dir, boot string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, layerDir, "*", recordFile))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no layers: %v", err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var l Layer
		if err := decodeRecord("layer", data, &l); err != nil {
			t.Fatal(err)
		}
		l.Boot = boot
		if err := writeRecord(p, "layer", &l); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamage: each kind of damage costs what it touches, and the store opens.
func TestDamage(t *testing.T) {
	for name, c := range map[string]struct {
		harm  func(t *testing.T, s *Store, img *Image)
		aside bool
	}{
		"torn image record":   {func(t *testing.T, s *Store, img *Image) { cut(t, s.imagePath(img.ID)) }, true},
		"zeroed image record": {func(t *testing.T, s *Store, img *Image) { zero(t, s.imagePath(img.ID)) }, true},
		"version of the future": {func(t *testing.T, s *Store, img *Image) {
			replace(t, s.imagePath(img.ID), "slipway-image 1", "slipway-image 2")
		}, true},
		"flipped bit": {func(t *testing.T, s *Store, img *Image) { replace(t, s.imagePath(img.ID), "r/a:1", "r/a:2") }, true},
		"torn layer record": {func(t *testing.T, s *Store, img *Image) {
			cut(t, s.path(layerDir, img.Layers[0], recordFile))
		}, false},
		"layer directory gone": {func(t *testing.T, s *Store, img *Image) {
			if err := os.RemoveAll(s.path(lowerDir, img.Layers[1])); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir, "b")
			img := put(t, s, Names{Tag: "r/a:1"}, "a", "b")
			put(t, s, Names{Tag: "r/other:1"}, "c")
			s.Sync()
			s.Close()
			c.harm(t, s, img)
			again := openStore(t, dir, "b")
			if again.ByRef("r/a:1") != nil || again.ByRef("r/other:1") == nil {
				t.Errorf("images %v", again.List())
			}
			if n := layerDirs(t, again); n != 1 {
				t.Errorf("%d layers, want the other image's one", n)
			}
			kept, err := os.ReadDir(again.path(asideDir))
			if err != nil || (len(kept) == 1) != c.aside {
				t.Errorf("set aside: %v, %v", kept, err)
			}
		})
	}
}

func cut(t *testing.T, path string) {
	t.Helper()
	fi, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, fi.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func zero(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, 300), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path, old, with string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), old) {
		t.Fatalf("%q is not in %s: %v", old, path, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), old, with, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLeftovers: what a killed pull left is gone after the next start.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, "b")
	if _, err := s.Stage(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{s.path(lowerDir, "half"), s.path(layerDir, "norecord"), s.path(tmpDir, "x", "y")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.path(imageDir, "abc.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Close()
	openStore(t, dir, "b")
	for _, d := range []string{lowerDir + "/half", layerDir + "/norecord", tmpDir + "/x", tmpDir + "/pull-1", imageDir + "/abc.new"} {
		if _, err := os.Lstat(filepath.Join(dir, d)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", d, err)
		}
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestSharedLayers(t *testing.T) {
	s := openStore(t, t.TempDir(), "b")
	a := put(t, s, Names{Tag: "r/a:1", Digest: "r/a@sha256:1"}, "base", "a")
	b := put(t, s, Names{Tag: "r/b:1"}, "base", "b", "base")
	if n := layerDirs(t, s); n != 3 {
		t.Errorf("%d layers for three contents", n)
	}
	if got := s.Use(b.ID.String(), "u"); len(got) != 2 || got[0] != b.Layers[2] {
		t.Errorf("a layer twice in one image: %q", got)
	}
	if err := s.Delete(b.ID); err != nil {
		t.Fatal(err)
	}
	if n := layerDirs(t, s); n != 3 {
		t.Errorf("%d layers while a user has them", n)
	}
	if err := s.Untag("r/a:1"); err != nil { // the last tag of the repository takes its digest along
		t.Fatal(err)
	}
	if s.ByID(a.ID.String()) != nil {
		t.Error("an image without a name stayed")
	}
	s.Release("u")
	s.Release("u")
	s.Close()
	if used, _ := s.Used(); used != 0 || layerDirs(t, s) != 0 {
		t.Errorf("%d bytes, %d layers left", used, layerDirs(t, s))
	}
	if got := s.Use(a.ID.String(), "u"); got != nil {
		t.Errorf("use of a removed image: %q", got)
	}
}

func TestHoldWaitersLeave(t *testing.T) {
	s := openStore(t, t.TempDir(), "b")
	h := s.Hold()
	defer h.Release()
	started, finish := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		_, _, err := h.Layer(context.Background(), digest.FromString("a"), func(dir string) (layers.Result, error) {
			close(started)
			<-finish
			return fakeUnpack("a")(dir)
		})
		first <- err
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := h.Layer(ctx, digest.FromString("a"), fakeUnpack("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("a waiter that leaves: %v", err)
	}
	close(finish)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	_, found, err := h.Layer(t.Context(), digest.FromString("a"), func(string) (layers.Result, error) { panic("unpacked twice") })
	if err != nil || !found {
		t.Errorf("found %v, %v", found, err)
	}
	if _, _, err := h.Layer(t.Context(), digest.FromString("b"), fakeUnpack("not b")); !errors.Is(err, layers.ErrInvalid) {
		t.Errorf("a layer of another diffID: %v", err)
	}
}

func TestPrefixes(t *testing.T) {
	x := newIndex([]*Image{{ID: "sha256:aabb"}, {ID: "sha256:aacc"}, {ID: "sha256:dd"}})
	s := &Store{}
	s.index.Store(x)
	for prefix, want := range map[string]digest.Digest{"aab": "sha256:aabb", "aa": "", "d": "sha256:dd", "sha256:aac": "sha256:aacc", "e": "", "": "", "dde": ""} {
		got := s.ByPrefix(prefix)
		if want == "" && got != nil || want != "" && (got == nil || got.ID != want) {
			t.Errorf("prefix %q: %v", prefix, got)
		}
	}
}

func BenchmarkList(b *testing.B) {
	var list []*Image
	for i := range 1000 {
		list = append(list, &Image{ID: digest.FromString(fmt.Sprint(i)), Tags: []string{fmt.Sprintf("r/i%d:1", i)}, Created: time.Unix(int64(i), 0)})
	}
	s := &Store{}
	s.index.Store(newIndex(list))
	for b.Loop() {
		if len(s.List()) != 1000 {
			b.Fatal("lost some")
		}
	}
}

func FuzzRecord(f *testing.F) {
	good, err := encodeRecord("image", &Image{ID: "sha256:aa", Tags: []string{"a:1"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		var img Image
		if decodeRecord("image", data, &img) != nil {
			return
		}
		if _, err := json.Marshal(img); err != nil || !slices.Equal(data[:14], []byte("slipway-image ")) {
			t.Errorf("took %q: %v", data, err)
		}
	})
}
