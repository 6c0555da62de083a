package layers

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// A recipe is what a layer's tar holds beside the contents of its files, so that the
// same bytes can be made again from the directory: a gzip stream of records, each a
// kind byte, a uvarint length and that many bytes. It differs from tar-split's JSON in
// that a path may come twice and a file may be sparse, which real layers have.
const (
	recipeRaw  = 'r' // bytes of the tar as they are: headers, padding, the data of sparse files
	recipeFile = 'f' // canonical path of a regular file, then a uvarint: its size. Its contents come here
	recipeName = 'n' // canonical path that became a regular file whose contents do not come here (a hard link)
)

// maxRaw bounds a raw record, and so the memory of both sides.
const maxRaw = 64 << 10

type recipeWriter struct {
	zw  *gzip.Writer
	bw  *bufio.Writer
	raw []byte
	err error
	num [binary.MaxVarintLen64]byte
}

func newRecipeWriter(w io.Writer) *recipeWriter {
	zw, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is a valid constant: no error
	return &recipeWriter{zw: zw, bw: bufio.NewWriterSize(zw, 64<<10), raw: make([]byte, 0, maxRaw)}
}

// addRaw collects bytes; neighbouring ones become one record.
func (w *recipeWriter) addRaw(b []byte) {
	for len(b) > 0 {
		n := min(len(b), maxRaw-len(w.raw))
		w.raw = append(w.raw, b[:n]...)
		if b = b[n:]; len(w.raw) == maxRaw {
			w.flushRaw()
		}
	}
}

func (w *recipeWriter) flushRaw() {
	if len(w.raw) > 0 {
		w.record(recipeRaw, w.raw)
		w.raw = w.raw[:0]
	}
}

func (w *recipeWriter) addFile(path string, size int64) {
	w.flushRaw()
	w.record(recipeFile, []byte(path))
	w.write(w.num[:binary.PutUvarint(w.num[:], uint64(size))])
}

func (w *recipeWriter) addName(path string) {
	w.flushRaw()
	w.record(recipeName, []byte(path))
}

func (w *recipeWriter) record(kind byte, body []byte) {
	w.write([]byte{kind})
	w.write(w.num[:binary.PutUvarint(w.num[:], uint64(len(body)))])
	w.write(body)
}

func (w *recipeWriter) write(b []byte) {
	if w.err == nil {
		_, w.err = w.bw.Write(b)
	}
}

func (w *recipeWriter) close() error {
	w.flushRaw()
	if w.err == nil {
		w.err = w.bw.Flush()
	}
	if err := w.zw.Close(); w.err == nil {
		w.err = err
	}
	return w.err
}

type recipeRecord struct {
	kind byte
	body []byte // valid until the next read
	size int64
}

type recipeReader struct {
	zr  *gzip.Reader
	br  *bufio.Reader
	buf []byte
}

func newRecipeReader(r io.Reader) (*recipeReader, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	return &recipeReader{zr: zr, br: bufio.NewReaderSize(zr, 64<<10), buf: make([]byte, maxRaw)}, nil
}

// next returns io.EOF at the end.
func (r *recipeReader) next() (recipeRecord, error) {
	kind, err := r.br.ReadByte()
	if err != nil {
		return recipeRecord{}, err
	}
	n, err := binary.ReadUvarint(r.br)
	if err != nil || n > maxRaw {
		return recipeRecord{}, fmt.Errorf("recipe: record of %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	rec := recipeRecord{kind: kind, body: r.buf[:n]}
	if _, err := io.ReadFull(r.br, rec.body); err != nil {
		return recipeRecord{}, fmt.Errorf("recipe: %w", io.ErrUnexpectedEOF)
	}
	if kind == recipeFile {
		size, err := binary.ReadUvarint(r.br)
		if err != nil {
			return recipeRecord{}, fmt.Errorf("recipe: %w", io.ErrUnexpectedEOF)
		}
		rec.size = int64(size)
	}
	return rec, nil
}
