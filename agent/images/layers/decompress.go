package layers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	// RFC 8878, 3.1.2: a skippable frame, which zstd:chunked blobs may begin with.
	zstdSkippable = []byte{0x2a, 0x4d, 0x18}
)

// zstdWindow bounds what a frame may make the decoder keep: what `zstd --long` uses.
const zstdWindow = 128 << 20

// decompress looks at the first bytes, as media types are not to be relied on: Docker's
// name gzip for plain blobs too.
func decompress(r io.Reader) (io.Reader, func(), error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return zr, nil, nil
	case bytes.HasPrefix(head, zstdMagic), len(head) == 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], zstdSkippable):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return zr, zr.Close, nil
	}
	return br, nil, nil
}

// Decompress gives the plain bytes of a gzip, zstd or plain stream; close the result.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	dec, closer, err := decompress(r)
	if err != nil {
		return nil, err
	}
	return plainReader{dec, closer}, nil
}

type plainReader struct {
	io.Reader
	closer func()
}

func (p plainReader) Close() error {
	if p.closer != nil {
		p.closer()
	}
	return nil
}
