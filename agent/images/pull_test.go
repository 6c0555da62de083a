package images

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slipway-cri/slipway/agent/images/imagetest"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// open makes a service in dir with pauses that a test can wait for.
func open(t testing.TB, dir string) *Local {
	t.Helper()
	l, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l.fetch.Backoff = 5 * time.Millisecond
	t.Cleanup(func() { l.Close() })
	return l
}

func push(t testing.TB, img *imagetest.Image, reg, repo, tag string) *imagetest.Built {
	t.Helper()
	b, err := img.Push(context.Background(), reg, repo, tag)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func twoLayers() *imagetest.Image {
	return imagetest.New(
		[]imagetest.File{{Name: "etc/"}, {Name: "etc/passwd", Data: "root:x:0:0::/root:/bin/sh\n"}, {Name: "etc/gone", Data: "x"}},
		[]imagetest.File{{Name: "etc/"}, {Name: "etc/.wh.gone"}, {Name: "etc/link", Type: '2', Link: "/etc/passwd"}},
	).WithCmd("sh")
}

func TestPullUseRemove(t *testing.T) {
	kerneltest.NeedRoot(t)
	reg := imagetest.StartRegistry(t)
	dir := t.TempDir()
	for name, img := range map[string]*imagetest.Image{
		"oci-gzip": twoLayers(),
		"oci-zstd": func() *imagetest.Image { i := twoLayers(); i.Compression = imagetest.Zstd; return i }(),
		"plain":    func() *imagetest.Image { i := twoLayers(); i.Compression = imagetest.Plain; return i }(),
		"docker":   func() *imagetest.Image { i := twoLayers(); i.Docker = true; return i }(),
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, filepath.Join(dir, name))
			ref := reg + "/test/" + name + ":v1"
			built := push(t, img, reg, "test/"+name, "v1")
			got, err := l.Pull(t.Context(), ref, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != built.Config.Digest.String() || !slices.Equal(got.RepoTags, []string{ref}) ||
				!slices.Equal(got.RepoDigests, []string{reg + "/test/" + name + "@" + built.Manifest.Digest.String()}) {
				t.Fatalf("pulled %+v", got)
			}
			if !slices.Equal(got.Config.Config.Cmd, []string{"sh"}) {
				t.Errorf("config %+v", got.Config)
			}
			checkRoot(t, l, got.ID)
			checkNames(t, l, got, ref)
			checkReopen(t, l, got.ID)
		})
	}
}

func checkRoot(t *testing.T, l *Local, id string) {
	t.Helper()
	r, err := l.Use(id, "c1")
	if err != nil || len(r.Lower) != 2 || len(r.Lower[0]) > 20 {
		t.Fatalf("use: %+v, %v", r, err)
	}
	if _, err := os.Lstat(filepath.Join(r.Base, r.Lower[1], "etc/gone")); err != nil {
		t.Error(err)
	}
	data, err := l.ReadFile(id, "/etc/link", 100)
	if err != nil || !bytes.HasPrefix(data, []byte("root:")) {
		t.Errorf("read through a link: %q, %v", data, err)
	}
	if _, err := l.ReadFile(id, "/etc/gone", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a whited out file: %v", err)
	}
	if _, err := l.ReadFile(id, "/etc/passwd", 5); err == nil {
		t.Error("read past the limit")
	}
}

func checkNames(t *testing.T, l *Local, img *Image, ref string) {
	t.Helper()
	for _, r := range []string{ref, img.ID, img.ID[7:], img.ID[7:20], img.RepoDigests[0]} {
		if got, err := l.Get(r); err != nil || got.ID != img.ID {
			t.Errorf("get %q: %v, %v", r, got, err)
		}
	}
	if _, err := l.Get("docker.io/library/nothing:v1"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("get an unknown one: %v", err)
	}
}

// checkReopen reads the store again, then removes the image: what is used stays until
// it is released.
func checkReopen(t *testing.T, l *Local, id string) {
	t.Helper()
	l.store.Sync()
	before, _ := l.FSInfo()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, l.o.Dir)
	after, _ := l.FSInfo()
	if after.UsedBytes != before.UsedBytes || after.Inodes != before.Inodes || after.UsedBytes == 0 {
		t.Errorf("used %+v before, %+v after", before, after)
	}
	r, err := l.Use(id, "c2")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	lower := filepath.Join(r.Base, r.Lower[0])
	if _, err := os.Stat(lower); err != nil {
		t.Errorf("a used layer went with its image: %v", err)
	}
	l.Release("c2")
	l.Close()
	if _, err := os.Stat(lower); !os.IsNotExist(err) {
		t.Errorf("layer after release: %v", err)
	}
	if info, _ := l.FSInfo(); info.UsedBytes != 0 || info.Inodes != 0 {
		t.Errorf("empty store uses %+v", info)
	}
}
