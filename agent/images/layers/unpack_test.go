package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-cri/slipway/agent/images/imagetest"
	"github.com/slipway-cri/slipway/oci/kerneltest"
	"golang.org/x/sys/unix"
)

type entries = []imagetest.File

func unpack(t testing.TB, raw []byte, o Options) (dir string, res Result, err error) {
	t.Helper()
	dir = t.TempDir()
	res, err = Unpack(context.Background(), io.NopCloser(bytes.NewReader(raw)), dir, o)
	return dir, res, err
}

func mustUnpack(t testing.TB, raw []byte) (string, Result) {
	t.Helper()
	dir, res, err := unpack(t, raw, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(raw); res.DiffID.Encoded() != hex.EncodeToString(sum[:]) || res.TarSize != int64(len(raw)) {
		t.Errorf("diffID %s, %d bytes", res.DiffID, res.TarSize)
	}
	return dir, res
}

// listing shows a tree as text: mode, owner, type, name, contents or target.
func listing(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fmt.Fprintf(&b, "%06o %d:%d %s", st.Mode, st.Uid, st.Gid, rel)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", data)
			if st.Nlink > 1 {
				fmt.Fprintf(&b, " links=%d", st.Nlink)
			}
		case unix.S_IFLNK:
			l, _ := os.Readlink(p)
			fmt.Fprintf(&b, " → %s", l)
		case unix.S_IFCHR, unix.S_IFBLK:
			fmt.Fprintf(&b, " %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case unix.S_IFDIR:
			var v [8]byte
			if n, err := unix.Lgetxattr(p, overlayOpaque, v[:]); err == nil {
				fmt.Fprintf(&b, " opaque=%s", v[:n])
			}
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestUnpack has one row a rule. Each is also assembled again.
func TestUnpack(t *testing.T) {
	kerneltest.NeedRoot(t)
	for _, c := range []struct {
		name string
		in   entries
		want string
	}{
		{"owner and modes", entries{{Name: "bin/", Mode: 0o1777}, {Name: "bin/su", Data: "s", Mode: 0o4755, UID: 5, GID: 6}, {Name: "bin/g", Mode: 0o2750, GID: 7}},
			"040755 0:0 .\n041777 0:0 bin\n102750 0:7 bin/g \"\"\n104755 5:6 bin/su \"s\"\n"},
		{"setgid directory does not rub off", entries{{Name: "d/", Mode: 0o2775, GID: 9}, {Name: "d/e/"}, {Name: "d/e/f", Data: "1"}},
			"040755 0:0 .\n042775 0:9 d\n040755 0:0 d/e\n100644 0:0 d/e/f \"1\"\n"},
		{"missing parents", entries{{Name: "a/b/c", Data: "1"}}, "040755 0:0 .\n040755 0:0 a\n040755 0:0 a/b\n100644 0:0 a/b/c \"1\"\n"},
		{"root entry", entries{{Name: "./", Mode: 0o711, UID: 3}}, "040711 3:0 .\n"},
		{"dots and slashes", entries{{Name: "/../../etc/../x", Data: "1"}, {Name: ".//y", Data: "2"}}, "040755 0:0 .\n100644 0:0 x \"1\"\n100644 0:0 y \"2\"\n"},
		{"symlink kept as it is", entries{{Name: "l", Type: tar.TypeSymlink, Link: "/etc/../../shadow", UID: 4}}, "040755 0:0 .\n120777 4:0 l → /etc/../../shadow\n"},
		{"through a link inside", entries{{Name: "usr/lib/"}, {Name: "lib", Type: tar.TypeSymlink, Link: "usr/lib"}, {Name: "lib/x", Data: "1"}},
			"040755 0:0 .\n120777 0:0 lib → usr/lib\n040755 0:0 usr\n040755 0:0 usr/lib\n100644 0:0 usr/lib/x \"1\"\n"},
		{"through an absolute link stays inside", entries{{Name: "e", Type: tar.TypeSymlink, Link: "/etc"}, {Name: "e/x", Data: "1"}},
			"040755 0:0 .\n120777 0:0 e → /etc\n040755 0:0 etc\n100644 0:0 etc/x \"1\"\n"},
		{"through a dangling climb stays inside", entries{{Name: "e", Type: tar.TypeSymlink, Link: "../../../tmp/out"}, {Name: "e/x", Data: "1"}},
			"040755 0:0 .\n120777 0:0 e → ../../../tmp/out\n040755 0:0 tmp\n040755 0:0 tmp/out\n100644 0:0 tmp/out/x \"1\"\n"},
		{"hard link", entries{{Name: "a", Data: "1"}, {Name: "d/b", Type: tar.TypeLink, Link: "/a"}},
			"040755 0:0 .\n100644 0:0 a \"1\" links=2\n040755 0:0 d\n100644 0:0 d/b \"1\" links=2\n"},
		{"hard link to itself", entries{{Name: "a", Data: "1"}, {Name: "a", Type: tar.TypeLink, Link: "a"}}, "040755 0:0 .\n100644 0:0 a \"1\"\n"},
		{"hard link to a symlink", entries{{Name: "l", Type: tar.TypeSymlink, Link: "/etc/shadow"}, {Name: "m", Type: tar.TypeLink, Link: "l"}},
			"040755 0:0 .\n120777 0:0 l → /etc/shadow\n120777 0:0 m → /etc/shadow\n"},
		{"hard link over a directory that holds its target", entries{{Name: "d/a", Data: "1"}, {Name: "d", Type: tar.TypeLink, Link: "d/a"}},
			"040755 0:0 .\n100644 0:0 d \"1\" links=2\n"},
		{"devices and fifos", entries{{Name: "n", Type: tar.TypeChar, Major: 1, Minor: 3, Mode: 0o666}, {Name: "b", Type: tar.TypeBlock, Major: 7, Minor: 300, Mode: 0o600}, {Name: "f", Type: tar.TypeFifo, Mode: 0o622}},
			"040755 0:0 .\n060600 0:0 b 7:300\n010622 0:0 f\n020666 0:0 n 1:3\n"},
		{"file twice", entries{{Name: "a", Data: "1"}, {Name: "a", Data: "22"}, {Name: "a", Data: "333"}}, "040755 0:0 .\n100644 0:0 a \"333\"\n"},
		{"file twice by two names", entries{{Name: "u/"}, {Name: "l", Type: tar.TypeSymlink, Link: "u"}, {Name: "l/a", Data: "1"}, {Name: "u/a", Data: "22"}},
			"040755 0:0 .\n120777 0:0 l → u\n040755 0:0 u\n100644 0:0 u/a \"22\"\n"},
		{"file over directory", entries{{Name: "d/e/f", Data: "1"}, {Name: "d/g", Data: "2"}, {Name: "d", Data: "3"}}, "040755 0:0 .\n100644 0:0 d \"3\"\n"},
		{"directory over file", entries{{Name: "d", Data: "3"}, {Name: "d/"}, {Name: "d/a", Data: "1"}}, "040755 0:0 .\n040755 0:0 d\n100644 0:0 d/a \"1\"\n"},
		{"directory over link", entries{{Name: "t/"}, {Name: "d", Type: tar.TypeSymlink, Link: "t"}, {Name: "d/x", Data: "0"}, {Name: "d/"}, {Name: "d/a", Data: "1"}},
			"040755 0:0 .\n040755 0:0 d\n100644 0:0 d/a \"1\"\n040755 0:0 t\n100644 0:0 t/x \"0\"\n"},
		{"link over directory", entries{{Name: "t/"}, {Name: "d/x", Data: "0"}, {Name: "d", Type: tar.TypeSymlink, Link: "t"}, {Name: "d/x", Data: "1"}},
			"040755 0:0 .\n120777 0:0 d → t\n040755 0:0 t\n100644 0:0 t/x \"1\"\n"},
		{"file over link does not write through it", entries{{Name: "t", Data: "0"}, {Name: "l", Type: tar.TypeSymlink, Link: "t"}, {Name: "l", Data: "1"}},
			"040755 0:0 .\n100644 0:0 l \"1\"\n100644 0:0 t \"0\"\n"},
		{"replaced file keeps its hard link", entries{{Name: "a", Data: "1"}, {Name: "b", Type: tar.TypeLink, Link: "a"}, {Name: "a", Data: "2"}},
			"040755 0:0 .\n100644 0:0 a \"2\"\n100644 0:0 b \"1\" links=2\n"},
		{"replaced hard link", entries{{Name: "a", Data: "1"}, {Name: "b", Type: tar.TypeLink, Link: "a"}, {Name: "b", Data: "2"}},
			"040755 0:0 .\n100644 0:0 a \"1\" links=2\n100644 0:0 b \"2\"\n"},
		{"whiteout", entries{{Name: "d/.wh.x"}}, "040755 0:0 .\n040755 0:0 d\n020000 0:0 d/x 0:0\n"},
		{"whiteout as a hard link", entries{{Name: "d/.wh..wh.aufs"}, {Name: "d/.wh.x", Type: tar.TypeLink, Link: "d/.wh..wh.aufs"}}, "040755 0:0 .\n040755 0:0 d\n020000 0:0 d/x 0:0\n"},
		{"whiteout after the file", entries{{Name: "x", Data: "1"}, {Name: ".wh.x"}}, "040755 0:0 .\n100644 0:0 x \"1\"\n"},
		{"whiteout before the file", entries{{Name: ".wh.x"}, {Name: "x", Data: "1"}}, "040755 0:0 .\n100644 0:0 x \"1\"\n"},
		{"whiteout before the directory", entries{{Name: ".wh.x"}, {Name: "x/"}, {Name: "x/y", Data: "1"}}, "040755 0:0 .\n040755 0:0 x opaque=y\n100644 0:0 x/y \"1\"\n"},
		{"whiteout after the directory", entries{{Name: "x/"}, {Name: "x/y", Data: "1"}, {Name: ".wh.x"}}, "040755 0:0 .\n040755 0:0 x opaque=y\n100644 0:0 x/y \"1\"\n"},
		{"whiteout twice", entries{{Name: ".wh.x"}, {Name: ".wh.x"}}, "040755 0:0 .\n020000 0:0 x 0:0\n"},
		{"opaque first", entries{{Name: "d/"}, {Name: "d/.wh..wh..opq"}, {Name: "d/a", Data: "1"}}, "040755 0:0 .\n040755 0:0 d opaque=y\n100644 0:0 d/a \"1\"\n"},
		{"opaque last", entries{{Name: "d/"}, {Name: "d/a", Data: "1"}, {Name: "d/.wh..wh..opq"}}, "040755 0:0 .\n040755 0:0 d opaque=y\n100644 0:0 d/a \"1\"\n"},
		{"opaque root", entries{{Name: ".wh..wh..opq"}}, "040755 0:0 . opaque=y\n"},
		{"AUFS's own files", entries{{Name: ".wh..wh.plnk/"}, {Name: ".wh..wh.orph", Data: "1"}}, "040755 0:0 .\n"},
		{"attributes of overlayfs are not the image's to set", entries{{Name: "d/", Xattrs: map[string]string{"trusted.overlay.opaque": "y", "trusted.overlay.redirect": "/x"}}}, "040755 0:0 .\n040755 0:0 d\n"},
		{"long names", entries{{Name: strings.Repeat("n", 200) + "/" + strings.Repeat("m", 255), Data: "1"}},
			"040755 0:0 .\n040755 0:0 " + strings.Repeat("n", 200) + "\n100644 0:0 " + strings.Repeat("n", 200) + "/" + strings.Repeat("m", 255) + " \"1\"\n"},
		{"empty", nil, "040755 0:0 .\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := imagetest.Tar(c.in...)
			dir, _ := mustUnpack(t, raw)
			if diff := cmp.Diff(c.want, listing(t, filepath.Join(dir, RootDir))); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			again(t, dir, raw)
		})
	}
}

func again(t testing.TB, dir string, raw []byte) {
	t.Helper()
	var out bytes.Buffer
	if err := Assemble(&out, dir, filepath.Join(dir, RootDir)); err != nil {
		t.Errorf("assemble: %v", err)
	} else if !bytes.Equal(out.Bytes(), raw) {
		t.Errorf("assembled %d bytes that differ from the layer's %d", out.Len(), len(raw))
	}
}

func TestUnpackRefuses(t *testing.T) {
	kerneltest.NeedRoot(t)
	for _, c := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"hard link out of the root", imagetest.Tar(entries{{Name: "a", Type: tar.TypeLink, Link: "../../../etc/passwd"}}...), ErrInvalid},
		{"hard link through a link out of the root", imagetest.Tar(entries{{Name: "l", Type: tar.TypeSymlink, Link: "/etc"}, {Name: "a", Type: tar.TypeLink, Link: "l/passwd"}}...), ErrInvalid},
		{"hard link to a directory", imagetest.Tar(entries{{Name: "d/"}, {Name: "a", Type: tar.TypeLink, Link: "d"}}...), ErrInvalid},
		{"hard link to the root", imagetest.Tar(entries{{Name: "a", Type: tar.TypeLink, Link: "/"}}...), ErrInvalid},
		{"link loop as a parent", imagetest.Tar(entries{{Name: "a", Type: tar.TypeSymlink, Link: "b"}, {Name: "b", Type: tar.TypeSymlink, Link: "a"}, {Name: "a/x", Data: "1"}}...), ErrInvalid},
		{"file as a parent", imagetest.Tar(entries{{Name: "a", Data: "1"}, {Name: "a/x", Data: "1"}}...), ErrInvalid},
		{"whiteout of nothing", imagetest.Tar(entries{{Name: "d/.wh."}}...), ErrInvalid},
		{"whiteout of dot-dot", imagetest.Tar(entries{{Name: "d/.wh..."}}...), ErrInvalid},
		{"empty link", imagetest.Tar(entries{{Name: "a", Type: tar.TypeSymlink, Link: ""}}...), ErrInvalid},
		{"device number", imagetest.Tar(entries{{Name: "a", Type: tar.TypeChar, Major: 5000}}...), ErrInvalid},
		{"component of 300 bytes", imagetest.Tar(entries{{Name: strings.Repeat("x", 300), Data: "1"}}...), ErrInvalid},
		{"name of 5000 bytes", imagetest.Tar(entries{{Name: strings.Repeat("x/", 2500) + "y", Data: "1"}}...), ErrInvalid},
		{"target of 5000 bytes", imagetest.Tar(entries{{Name: "a", Type: tar.TypeSymlink, Link: strings.Repeat("x", 5000)}}...), ErrInvalid},
		{"not a tar", []byte(strings.Repeat("no tar at all ", 100)), ErrInvalid},
		{"truncated file", imagetest.Tar(entries{{Name: "a", Data: strings.Repeat("1", 3000)}}...)[:1024], ErrInvalid},
		{"truncated header", imagetest.Tar(entries{{Name: "a", Data: "1"}}...)[:300], ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := unpack(t, c.raw, Options{}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestUnpackLimits(t *testing.T) {
	kerneltest.NeedRoot(t)
	zeros := &imagetest.Image{Layers: [][]byte{imagetest.Tar(entries{{Name: "z", Data: strings.Repeat("\x00", 8<<20)}}...)}}
	zeros.Compression = imagetest.Zstd
	bomb, err := zeros.Build()
	if err != nil {
		t.Fatal(err)
	}
	var many entries
	for i := range 100 {
		many = append(many, imagetest.File{Name: fmt.Sprint(i)})
	}
	for _, c := range []struct {
		name string
		raw  []byte
		lim  Limits
	}{
		{"ratio", bomb.Blobs[bomb.Layers[0].Digest], Limits{RatioFloor: 1 << 20}},
		{"bytes", bomb.Blobs[bomb.Layers[0].Digest], Limits{Bytes: 1 << 20}},
		{"entries", imagetest.Tar(many...), Limits{Entries: 99}},
		{"a sparse file's size", sparseTar(t, 1<<40), Limits{Bytes: 1 << 30}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := unpack(t, c.raw, Options{Limits: c.lim}); !errors.Is(err, ErrLimit) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// sparseTar writes PAX format 1.0 by hand, as archive/tar does not: 512 bytes of data at
// the end of a file of size bytes.
func sparseTar(t testing.TB, size int64) []byte {
	t.Helper()
	sparseMap := fmt.Sprintf("1\n%d\n512\n", size-512)
	var buf bytes.Buffer
	records := []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=sparse", fmt.Sprintf("GNU.sparse.realsize=%d", size)}
	var pax string
	for _, r := range records {
		n := len(r) + 2
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n++
		}
		pax += fmt.Sprintf("%d %s\n", n, r)
	}
	header := func(name string, typ byte, size int64) {
		var h [512]byte
		copy(h[:], name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00", size))
		copy(h[148:], "        ")
		h[156] = typ
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		buf.Write(h[:])
	}
	pad := func(s string) { buf.WriteString(s + strings.Repeat("\x00", (512-len(s)%512)%512)) }
	header("pax", 'x', int64(len(pax)))
	pad(pax)
	header("GNUSparseFile.0/sparse", '0', 1024)
	pad(sparseMap)
	pad(strings.Repeat("s", 512))
	buf.Write(make([]byte, 1024))
	return buf.Bytes()
}

func TestSparse(t *testing.T) {
	kerneltest.NeedRoot(t)
	raw := sparseTar(t, 64<<20)
	dir, _ := mustUnpack(t, raw)
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, RootDir, "sparse"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 64<<20 || st.Blocks > 64 {
		t.Errorf("size %d in %d blocks", st.Size, st.Blocks)
	}
	again(t, dir, raw)
}

func TestTimesAndAttributes(t *testing.T) {
	kerneltest.NeedRoot(t)
	caps := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_bind_service, VFS_CAP_REVISION_2
	raw := imagetest.Tar(entries{
		{Name: "d/"}, {Name: "d/ping", Data: "x", Mode: 0o755, UID: 3, Xattrs: map[string]string{"security.capability": caps, "user.note": "n", "security.selinux": "no"}},
		{Name: "d/l", Type: tar.TypeSymlink, Link: "ping"},
	}...)
	dir, _ := mustUnpack(t, raw)
	root := filepath.Join(dir, RootDir)
	for _, name := range []string{"d", "d/ping", "d/l"} {
		fi, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !fi.ModTime().Equal(imagetest.Epoch) {
			t.Errorf("%s has mtime %s", name, fi.ModTime())
		}
	}
	for name, want := range map[string]string{"security.capability": caps, "user.note": "n"} {
		var v [64]byte
		n, err := unix.Getxattr(filepath.Join(root, "d/ping"), name, v[:])
		if err != nil || string(v[:n]) != want {
			t.Errorf("%s = %q, %v", name, v[:max(n, 0)], err)
		}
	}
	if _, err := unix.Getxattr(filepath.Join(root, "d/ping"), "security.selinux", nil); err == nil {
		t.Error("the image set a label of a security module")
	}
}

// TestWideAndDeep walks more directories than the cache holds, back and forth.
func TestWideAndDeep(t *testing.T) {
	kerneltest.NeedRoot(t)
	var in entries
	for round := range 3 {
		for i := range 2 * maxParents {
			data := make([]byte, 100)
			if _, err := rand.Read(data); err != nil {
				t.Fatal(err)
			}
			in = append(in, imagetest.File{Name: fmt.Sprintf("d%d/e/f%d", i, round), Data: string(data)})
		}
	}
	in = append(in, imagetest.File{Name: strings.Repeat("p/", 1000) + "x", Data: "deep"})
	raw := imagetest.Tar(in...)
	dir, res := mustUnpack(t, raw)
	again(t, dir, raw)
	if !slices.Contains(res.Implicit, "d7/e") || !slices.Contains(res.Implicit, ".") {
		t.Errorf("implicit directories %d", len(res.Implicit))
	}
}

// TestCancelled ends an unpack whose stream stalls for good.
func TestCancelled(t *testing.T) {
	kerneltest.NeedRoot(t)
	kerneltest.Balance(t, kerneltest.Scope{})
	pr, pw := io.Pipe()
	defer pw.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the caller left")
	go func() {
		_, _ = pw.Write(imagetest.Tar(entries{{Name: "a", Data: strings.Repeat("1", 5000)}}...)[:2000])
		cancel(why)
	}()
	if _, err := Unpack(ctx, pr, t.TempDir(), Options{}); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// FuzzUnpack: whatever the layer says, nothing outside its directory changes, and what
// was unpacked assembles to the same bytes.
func FuzzUnpack(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: layers hold devices and owners")
	}
	f.Add(imagetest.Tar(entries{{Name: "a", Data: "1"}, {Name: "l", Type: tar.TypeSymlink, Link: "../../canary"}, {Name: "l/x", Data: "2"}, {Name: "l", Data: "3"}}...))
	f.Add(imagetest.Tar(entries{{Name: "d/e/f", Data: "1"}, {Name: "h", Type: tar.TypeLink, Link: "d/e/f"}, {Name: "d", Data: "2"}, {Name: ".wh.q"}, {Name: "q/.wh..wh..opq"}}...))
	f.Add(sparseTar(f, 4096))
	f.Fuzz(func(t *testing.T, raw []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "a", "b")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outer, "canary"), []byte("alive"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := outside(t, outer, dir)
		_, err := Unpack(t.Context(), io.NopCloser(bytes.NewReader(raw)), dir, Options{Limits: Limits{Entries: 1000, Bytes: 1 << 24}})
		if got := outside(t, outer, dir); got != before {
			t.Fatalf("outside changed:\n%s\nwas:\n%s", got, before)
		}
		if err != nil {
			return
		}
		plain, err := Decompress(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		want, err := io.ReadAll(plain)
		if err != nil {
			t.Fatal(err)
		}
		again(t, dir, want)
	})
}

func outside(t *testing.T, outer, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(outer, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == dir {
			return filepath.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		fmt.Fprintln(&b, p, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, st.Nlink)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
