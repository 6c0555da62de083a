package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/slipway-cri/slipway/agent/images/imagetest"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/oci/kerneltest"
	"golang.org/x/sys/unix"
)

// TestLoadSaveLoad: what is saved has the layers' very bytes, docker's and OCI's way.
func TestLoadSaveLoad(t *testing.T) {
	kerneltest.NeedRoot(t)
	img := twoLayers()
	var in bytes.Buffer
	zw := gzip.NewWriter(&in)
	if err := img.WriteOCI(zw, "docker.io/test/a:1"); err != nil {
		t.Fatal(err)
	}
	zw.Close()
	l := open(t, t.TempDir())
	got, err := l.Load(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !slices.Equal(got[0].RepoTags, []string{"docker.io/test/a:1"}) {
		t.Fatalf("loaded %+v", got)
	}
	busybox := imagetest.Busybox(t)
	var second bytes.Buffer
	if err := busybox.WriteOCI(&second, "docker.io/test/busybox:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Load(t.Context(), &second); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.Save(t.Context(), &out, "test/a:1", "test/busybox:1"); err != nil {
		t.Fatal(err)
	}
	files := untar(t, out.Bytes())
	for _, layer := range append(slices.Clone(img.Layers), busybox.Layers...) {
		if !slices.ContainsFunc(files, func(f []byte) bool { return bytes.Equal(f, layer) }) {
			t.Errorf("a layer of %d bytes is not in the archive as it was", len(layer))
		}
	}
	archive := filepath.Join(t.TempDir(), "saved.tar")
	if err := os.WriteFile(archive, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{"docker-archive:" + archive + ":test/a:1", "docker-archive:" + archive + ":test/busybox:1"} {
		checkSkopeo(t, src)
	}
	other := open(t, t.TempDir())
	again, err := other.Load(t.Context(), bytes.NewReader(out.Bytes()))
	if err != nil || len(again) != 2 || again[0].ID != got[0].ID {
		t.Fatalf("loaded again %v, %v", again, err)
	}
	if err := l.Save(t.Context(), io.Discard, "nothing:1"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("save of nothing: %v", err)
	}
}

func checkSkopeo(t *testing.T, src string) {
	t.Helper()
	out, err := exec.Command("skopeo", "inspect", "--config", src).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo inspect %s: %v: %s (apt-get install skopeo)", src, err, out)
	}
	if !bytes.Contains(out, []byte(`"Cmd"`)) {
		t.Errorf("skopeo read %s", out)
	}
	dst := "oci-archive:" + filepath.Join(t.TempDir(), "copy.tar") + ":x:1"
	if out, err := exec.Command("skopeo", "copy", "--insecure-policy", src, dst).CombinedOutput(); err != nil {
		t.Errorf("skopeo copy %s: %v: %s", src, err, out)
	}
}

func untar(t *testing.T, raw []byte) [][]byte {
	t.Helper()
	var out [][]byte
	for tr := tar.NewReader(bytes.NewReader(raw)); ; {
		_, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, data)
	}
}

// dockerSave is the archive of Docker before 1.10, with a layer shared by a link.
func dockerSave(t *testing.T, img *imagetest.Image, tags ...string) []byte {
	t.Helper()
	b, err := img.Build()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": tags, "Layers": []string{"a/layer.tar", "b/layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.Tar(
		imagetest.File{Name: "b/layer.tar", Type: tar.TypeSymlink, Link: "../c/layer.tar"},
		imagetest.File{Name: "c/layer.tar", Data: string(img.Layers[1])},
		imagetest.File{Name: "manifest.json", Data: string(manifest)},
		imagetest.File{Name: "a/layer.tar", Data: string(img.Layers[0])},
		imagetest.File{Name: "config.json", Data: string(b.Blobs[b.Config.Digest])},
	)
}

func TestLoadDockerSave(t *testing.T) {
	kerneltest.NeedRoot(t)
	l := open(t, t.TempDir())
	got, err := l.Load(t.Context(), bytes.NewReader(dockerSave(t, twoLayers(), "a:1", "b/c:2")))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !slices.Equal(got[0].RepoTags, []string{"docker.io/b/c:2", "docker.io/library/a:1"}) {
		t.Fatalf("loaded %+v", got[0])
	}
	if err := l.Remove(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	if left, err := l.Get("b/c:2"); err != nil || len(left.RepoTags) != 1 {
		t.Errorf("after one tag went: %+v, %v", left, err)
	}
	if err := l.Remove(t.Context(), "b/c:2"); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, l)
}

func TestLoadRefuses(t *testing.T) {
	kerneltest.NeedRoot(t)
	wrong := twoLayers()
	archive := dockerSave(t, wrong, "a:1")
	swapped := bytes.Replace(archive, []byte("root:x:0:0"), []byte("root:x:9:0"), 1)
	for name, raw := range map[string][]byte{
		"nothing":          {},
		"no index":         imagetest.Tar(imagetest.File{Name: "x", Data: "1"}),
		"link loop":        imagetest.Tar(imagetest.File{Name: "manifest.json", Type: tar.TypeSymlink, Link: "manifest.json"}),
		"bad json":         imagetest.Tar(imagetest.File{Name: "manifest.json", Data: "{"}),
		"missing layer":    imagetest.Tar(imagetest.File{Name: "manifest.json", Data: `[{"Config":"c","Layers":["x"]}]`}, imagetest.File{Name: "c", Data: `{"rootfs":{"diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`}),
		"path outside":     imagetest.Tar(imagetest.File{Name: "manifest.json", Data: `[{"Config":"../../../../etc/passwd","Layers":[]}]`}),
		"another layer":    swapped,
		"diffIDs too many": imagetest.Tar(imagetest.File{Name: "manifest.json", Data: `[{"Config":"c","Layers":[]}]`}, imagetest.File{Name: "c", Data: `{"rootfs":{"diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`}),
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, t.TempDir())
			if _, err := l.Load(t.Context(), bytes.NewReader(raw)); !errors.Is(err, lifecycle.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			checkEmpty(t, l)
		})
	}
}

// TestInheritedAttributes: a layer that holds tmp/x alone leaves /tmp as the layer below
// has it, and its contents are shared with an image where it is otherwise.
func TestInheritedAttributes(t *testing.T) {
	kerneltest.NeedRoot(t)
	l := open(t, t.TempDir())
	top := []imagetest.File{{Name: "tmp/x", Data: "1"}, {Name: "home/u/.rc", Data: "2"}}
	load := func(name string, bottom []imagetest.File) *Rootfs {
		t.Helper()
		var buf bytes.Buffer
		if err := imagetest.New(bottom, top).WriteOCI(&buf, name); err != nil {
			t.Fatal(err)
		}
		got, err := l.Load(t.Context(), &buf)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Use(got[0].ID, name)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	plain := load("docker.io/t/plain:1", []imagetest.File{{Name: "tmp/"}})
	sticky := load("docker.io/t/sticky:1", []imagetest.File{{Name: "tmp/", Mode: 0o1777}, {Name: "home/"}, {Name: "home/u/", Mode: 0o700, UID: 1000, GID: 1000}})
	if sticky.Lower[0] == plain.Lower[0] {
		t.Error("one layer for two sets of attributes")
	}
	for _, c := range []struct {
		r         *Rootfs
		path      string
		mode, uid uint32
	}{{sticky, "tmp", 0o41777, 0}, {sticky, "home/u", 0o40700, 1000}, {plain, "tmp", 0o40755, 0}, {plain, "home/u", 0o40755, 0}} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(c.r.Base, c.r.Lower[0], c.path), &st); err != nil || st.Mode != c.mode || st.Uid != c.uid {
			t.Errorf("%s: mode %o of %d, %v", c.path, st.Mode, st.Uid, err)
		}
	}
	var a, b unix.Stat_t
	_ = unix.Stat(filepath.Join(sticky.Base, sticky.Lower[0], "tmp/x"), &a)
	_ = unix.Stat(filepath.Join(plain.Base, plain.Lower[0], "tmp/x"), &b)
	if a.Ino == 0 || a.Ino != b.Ino {
		t.Errorf("the file is there twice: inodes %d and %d", a.Ino, b.Ino)
	}
	if err := l.Save(t.Context(), io.Discard, "t/sticky:1", "t/plain:1"); err != nil {
		t.Errorf("save of a variant: %v", err)
	}
}
