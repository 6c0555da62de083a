// Package imagetest makes images out of nothing for tests and demonstrations: layers
// from Go values, pushed to a registry or written as an OCI layout. StartRegistry runs
// Debian's docker-registry on a free port for the length of a test.
//
//	reg := imagetest.StartRegistry(t)
//	img := imagetest.Busybox(t)                       // /bin/busybox with its applets
//	err := img.Push(ctx, reg, "demo/busybox", "1.0")  // → reg + "/demo/busybox:1.0"
//	err = img.WriteOCI(w, "docker.io/demo/busybox:1.0")
//
// It is not for production code, and nothing here is safe against hostile input.
package imagetest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Epoch is the time of every file that says no other.
var Epoch = time.Unix(1_700_000_000, 0)

// File is one entry of a layer. The zero Type is a regular file, or a directory when the
// name ends in "/".
type File struct {
	Name     string
	Data     string
	Type     byte   // of archive/tar
	Link     string // target of a hard or symbolic link
	Mode     int64  // 0: 0644, directories 0755
	UID, GID int
	Xattrs   map[string]string
	Major    int64
	Minor    int64
	Time     time.Time // zero: Epoch
}

// Header is the entry's tar header.
func (f File) Header() *tar.Header {
	h := &tar.Header{Name: f.Name, Typeflag: f.Type, Linkname: f.Link, Mode: f.Mode, Uid: f.UID, Gid: f.GID,
		Devmajor: f.Major, Devminor: f.Minor, ModTime: f.Time, Size: int64(len(f.Data))}
	if f.Time.IsZero() {
		h.ModTime = Epoch
	}
	if f.Type == 0 {
		h.Typeflag = tar.TypeReg
		if strings.HasSuffix(f.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
	}
	if f.Mode == 0 {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
	}
	for k, v := range f.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	return h
}

// Tar writes the entries in their order.
func Tar(files ...File) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(f.Header()); err != nil {
			panic(fmt.Sprintf("imagetest: header of %q: %v", f.Name, err))
		}
		if _, err := w.Write([]byte(f.Data)); err != nil {
			panic(fmt.Sprintf("imagetest: data of %q: %v", f.Name, err))
		}
	}
	if err := w.Close(); err != nil {
		panic(fmt.Sprintf("imagetest: %v", err))
	}
	return buf.Bytes()
}

// Compression of layers as pushed or written.
type Compression string

// The compressions that images come in.
const (
	Gzip  Compression = "gzip" // also the zero value
	Zstd  Compression = "zstd"
	Plain Compression = "plain"
)

// Image is an image to be. The zero value plus layers is complete: platform, diffIDs and
// history are filled in.
type Image struct {
	Config      ocispec.Image
	Layers      [][]byte // uncompressed tars, bottom first
	Compression Compression
	Docker      bool // Docker's media types instead of OCI's
}

// New is an image of one layer a list of files.
func New(layers ...[]File) *Image {
	img := &Image{}
	for _, l := range layers {
		img.Layers = append(img.Layers, Tar(l...))
	}
	return img
}

// WithCmd sets the command and returns the image.
func (img *Image) WithCmd(args ...string) *Image {
	img.Config.Config.Cmd = args
	return img
}

// Busybox is /bin/busybox with a link for each applet, /etc/passwd, /etc/group, /tmp and
// a shell as its command. It fails the test, saying how to install it, when there is none.
func Busybox(t interface {
	Helper()
	Fatalf(string, ...any)
}) *Image {
	t.Helper()
	img, err := BusyboxFrom("/bin/busybox")
	if err != nil {
		t.Fatalf("%v (apt-get install busybox-static)", err)
	}
	return img
}

// BusyboxFrom is Busybox of the static binary at path, for programs that are not tests.
func BusyboxFrom(path string) (*Image, error) {
	bin, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", path, err)
	}
	files := []File{{Name: "bin/"}, {Name: "bin/busybox", Data: string(bin), Mode: 0o755}}
	for _, a := range strings.Fields(string(list)) {
		if a != "busybox" {
			files = append(files, File{Name: "bin/" + a, Type: tar.TypeSymlink, Link: "busybox"})
		}
	}
	files = append(files,
		File{Name: "etc/"},
		File{Name: "etc/passwd", Data: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		File{Name: "etc/group", Data: "root:x:0:\nnogroup:x:65534:\n"},
		File{Name: "root/", Mode: 0o700}, File{Name: "tmp/", Mode: 0o1777},
		File{Name: "proc/"}, File{Name: "sys/"}, File{Name: "dev/"}, File{Name: "var/"})
	img := New(files).WithCmd("sh")
	img.Config.Config.Env = []string{"PATH=/bin"}
	return img, nil
}

// Built is an image's blobs.
type Built struct {
	Blobs    map[digest.Digest][]byte // configuration, layers, manifest
	Config   ocispec.Descriptor
	Layers   []ocispec.Descriptor
	Manifest ocispec.Descriptor
}

// Build makes the blobs.
func (img *Image) Build() (*Built, error) {
	b := &Built{Blobs: map[digest.Digest][]byte{}}
	c := img.Config
	c.OS, c.Architecture = cmp.Or(c.OS, "linux"), cmp.Or(c.Architecture, runtime.GOARCH)
	c.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	layerType, configType, manifestType := ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageManifest
	suffix := map[Compression]string{Plain: "", Gzip: "+gzip", Zstd: "+zstd"}[cmp.Or(img.Compression, Gzip)]
	if img.Docker {
		layerType, suffix = "application/vnd.docker.image.rootfs.diff.tar.gzip", ""
		configType = "application/vnd.docker.container.image.v1+json"
		manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	}
	for _, l := range img.Layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(l))
		blob, err := compress(l, img.Compression)
		if err != nil {
			return nil, err
		}
		b.Layers = append(b.Layers, b.put(layerType+suffix, blob))
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	b.Config = b.put(configType, raw)
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType, Config: b.Config, Layers: b.Layers}
	if m.Layers == nil {
		m.Layers = []ocispec.Descriptor{}
	}
	if raw, err = json.Marshal(m); err != nil {
		return nil, err
	}
	b.Manifest = b.put(manifestType, raw)
	return b, nil
}

func (b *Built) put(mediaType string, blob []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	b.Blobs[d.Digest] = blob
	return d
}

// sorted gives the blobs a fixed order.
func (b *Built) sorted() []digest.Digest {
	var out []digest.Digest
	for d := range b.Blobs {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}

func compress(data []byte, c Compression) ([]byte, error) {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Plain:
		return data, nil
	case Zstd:
		zw, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		w = zw
	default:
		w = gzip.NewWriter(&buf)
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
