package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// A record file is one header line, "slipway-image 1 <sha256 of the rest>", and JSON.
const recordVersion = 1

// Layer is one unpacked layer.
type Layer struct {
	DiffID   digest.Digest `json:"diffID"`
	Name     string        `json:"name"` // of its directory, at most 20 bytes
	TarSize  int64         `json:"tarSize"`
	Size     int64         `json:"size"` // bytes on disk
	Inodes   int64         `json:"inodes"`
	Implicit []string      `json:"implicit,omitempty"` // directories that take their attributes from below
	// Boot is the boot in which the contents were written and not known to be on the disk
	// yet; "" once they are. After a power loss such a layer counts as absent.
	Boot string `json:"boot,omitempty"`
}

// Image is one image. It is immutable once in the index.
type Image struct {
	ID      digest.Digest   `json:"id"`     // of Config
	Config  []byte          `json:"config"` // as it came
	Tags    []string        `json:"tags,omitempty"`
	Digests []string        `json:"digests,omitempty"` // repository@digest, as pulled
	DiffIDs []digest.Digest `json:"diffIDs"`           // bottom first
	Layers  []string        `json:"layers"`            // names, bottom first
	Created time.Time       `json:"created"`
	Named   time.Time       `json:"named"` // when the names changed last: of two records that claim a tag, the later has it

	Size int64 `json:"-"` // of all layers and the configuration
	View any   `json:"-"` // what the owner of the store made of it, by Options.View
}

func encodeRecord(kind string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return append(fmt.Appendf(nil, "slipway-%s %d %s\n", kind, recordVersion, hex.EncodeToString(sum[:])), body...), nil
}

func decodeRecord(kind string, data []byte, v any) error {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	f := strings.Fields(string(head))
	if !ok || len(f) != 3 || f[0] != "slipway-"+kind {
		return fmt.Errorf("not a record of kind %s", kind)
	}
	if f[1] != fmt.Sprint(recordVersion) {
		return fmt.Errorf("record version %q, this program knows %d", f[1], recordVersion)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != f[2] {
		return fmt.Errorf("checksum differs")
	}
	return json.Unmarshal(body, v)
}

// writeRecord replaces path by temp, fsync, rename, fsync of the directory.
func writeRecord(path, kind string, v any) error {
	data, err := encodeRecord(kind, v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
