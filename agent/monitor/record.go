package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"

	"github.com/slipway-cri/slipway/oci/wire"
)

// ErrTornRecord reports an exit record that is cut, zeroed or of another version.
var ErrTornRecord = errors.New("exit record does not parse")

// recordMagic is the first line of an exit record with its version; the checksum
// (CRC-32C, eight hex digits) and the encoded Exit follow.
const recordMagic = "slipway-exit 1\n"

const recordSum = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeRecord(e *Exit) []byte {
	w := &wire.Writer{}
	e.encode(w)
	sum := strconv.FormatUint(1<<32|uint64(crc32.Checksum(w.Bytes(), castagnoli)), 16)[1:]
	return append([]byte(recordMagic+sum), w.Bytes()...)
}

func decodeRecord(b []byte) (Exit, error) {
	rest, ok := bytes.CutPrefix(b, []byte(recordMagic))
	if !ok || len(rest) < recordSum {
		return Exit{}, ErrTornRecord
	}
	sum, err := strconv.ParseUint(string(rest[:recordSum]), 16, 32)
	body := rest[recordSum:]
	if err != nil || uint32(sum) != crc32.Checksum(body, castagnoli) {
		return Exit{}, ErrTornRecord
	}
	r := wire.NewReader(body)
	e := decodeExit(r)
	if r.Err() != nil {
		return Exit{}, ErrTornRecord
	}
	return e, nil
}

// writeRecord needs no fsync: after a reboot nothing runs, and the directory is a tmpfs.
func writeRecord(dir string, e *Exit) error {
	tmp := filepath.Join(dir, "."+e.ID)
	if err := os.WriteFile(tmp, encodeRecord(e), 0o600); err != nil {
		os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, e.ID))
}

// ReadExit reads the exit record of id in dir (layout.ExitDir), which outlives the
// monitor. Errors wrap fs.ErrNotExist (it did not exit, or was forgotten) or ErrTornRecord.
func ReadExit(dir, id string) (Exit, error) {
	if err := checkID(id); err != nil {
		return Exit{}, err
	}
	path := filepath.Join(dir, id)
	b, err := os.ReadFile(path)
	if err != nil {
		return Exit{}, err
	}
	e, err := decodeRecord(b)
	if err == nil && e.ID != id {
		err = ErrTornRecord
	}
	if err != nil {
		return Exit{}, fmt.Errorf("%q: %w", path, err)
	}
	return e, nil
}
