// Package record keeps one small file per pod or container: written to a temporary name
// and renamed, with a schema version and a checksum in its first line. It knows nothing
// of what is inside. A record that does not parse is set aside, never a reason not to
// start. Nothing is fsynced: after a reboot nothing runs, so a lost record loses nothing
// that was alive. Safe for concurrent use of different ids; one id has one owner.
package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxBytes bounds a record that is read; CRI configs are far below it.
const maxBytes = 16 << 20

// fileName is the record in its directory; a bad one is renamed to it plus badSuffix.
const (
	fileName  = "record"
	badSuffix = ".bad"
)

// Store holds the records of one kind ("pod", "container") below Dir/ID/record.
type Store struct {
	Dir     string
	Kind    string
	Version int // of the payload's schema; a newer one is set aside
}

// Record is one that was read.
type Record struct {
	ID      string
	Version int
	Payload []byte
}

// Bad is one that could not be read and has been set aside.
type Bad struct {
	ID  string
	Err error
}

// Write replaces the record of id, making its directory (0700) where it is missing.
func (s *Store) Write(id string, payload []byte) error {
	dir := filepath.Join(s.Dir, id)
	sum := sha256.Sum256(payload)
	var b bytes.Buffer
	b.Grow(len(payload) + 100)
	fmt.Fprintf(&b, "slipway %s %d %s\n", s.Kind, s.Version, hex.EncodeToString(sum[:]))
	b.Write(payload)
	path := filepath.Join(dir, fileName)
	err := os.WriteFile(path+".new", b.Bytes(), 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		err = os.WriteFile(path+".new", b.Bytes(), 0o600)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(path+".new")))
	}
	return os.Rename(path+".new", path)
}

// Remove takes the record and everything else in its directory away.
func (s *Store) Remove(id string) error {
	return os.RemoveAll(filepath.Join(s.Dir, id))
}

// All reads every record. Those that do not parse are renamed and reported; directories
// without a record are reported by id, for the caller to clean.
func (s *Store) All() (good []Record, bad []Bad, empty []string, err error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		path := filepath.Join(s.Dir, e.Name(), fileName)
		r, err := s.read(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			empty = append(empty, e.Name())
		case err != nil:
			err = errors.Join(err, s.SetAside(e.Name()))
			bad = append(bad, Bad{ID: e.Name(), Err: err})
		default:
			r.ID = e.Name()
			good = append(good, *r)
		}
	}
	return good, bad, empty, nil
}

// SetAside renames a record whose payload means nothing to its reader, as All does with one that it cannot read:
// the next All reports its directory as without a record.
func (s *Store) SetAside(id string) error {
	path := filepath.Join(s.Dir, id, fileName)
	return os.Rename(path, path+badSuffix)
}

func (s *Store) read(path string) (*Record, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxBytes {
		return nil, fmt.Errorf("record %s: not a file of at most %d bytes", path, maxBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := s.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", path, err)
	}
	return r, nil
}

// Parse reads a record's bytes; ID is left empty.
func (s *Store) Parse(data []byte) (*Record, error) {
	line, payload, ok := bytes.Cut(data, []byte("\n"))
	f := strings.Split(string(line), " ")
	if !ok || len(f) != 4 || f[0] != "slipway" {
		return nil, errors.New("no header line")
	}
	if f[1] != s.Kind {
		return nil, fmt.Errorf("is of a %q, not of a %s", f[1], s.Kind)
	}
	version, err := strconv.Atoi(f[2])
	if err != nil || version < 1 {
		return nil, fmt.Errorf("version %q", f[2])
	}
	if version > s.Version {
		return nil, fmt.Errorf("version %d is newer than this build's %d", version, s.Version)
	}
	sum := sha256.Sum256(payload)
	if f[3] != hex.EncodeToString(sum[:]) {
		return nil, errors.New("checksum does not match: torn or altered")
	}
	return &Record{Version: version, Payload: payload}, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
