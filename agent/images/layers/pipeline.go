package layers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"
)

// The stages of one layer, each a goroutine, joined by channels of pooled chunks:
//
//	network ─► pump(sha256 of compressed) ─► decompressor ─► pump(read) ─► hashing ─► untar (the caller)
//
// so that download, decompression, both digests and the file system overlap.
const (
	chunkSize  = 256 << 10
	chunkDepth = 4 // chunks in flight between two stages
)

var chunkPool = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

type chunk struct {
	buf *[]byte
	n   int
	err error // after the n bytes; io.EOF at the end
}

// flow reads the chunks of a stage as an io.Reader.
type flow struct {
	ch  <-chan chunk
	cur chunk
	off int
}

func (f *flow) Read(p []byte) (int, error) {
	for f.off == f.cur.n {
		if f.cur.err != nil {
			return 0, f.cur.err
		}
		if f.cur.buf != nil {
			chunkPool.Put(f.cur.buf)
		}
		f.cur, f.off = chunk{}, 0
		c, ok := <-f.ch
		if !ok {
			f.cur = chunk{err: io.ErrUnexpectedEOF} // the stage before was cancelled
			return 0, io.ErrUnexpectedEOF
		}
		f.cur = c
	}
	n := copy(p, (*f.cur.buf)[f.off:f.cur.n])
	f.off += n
	return n, nil
}

// pump reads r to its end in a goroutine of its own, calling see for each chunk.
func pump(ctx context.Context, wg *sync.WaitGroup, r io.Reader, see func([]byte) error) *flow {
	ch := make(chan chunk, chunkDepth)
	wg.Go(func() {
		defer close(ch)
		for {
			buf := chunkPool.Get().(*[]byte)
			c := chunk{buf: buf}
			c.n, c.err = fill(ctx, r, *buf)
			if c.n > 0 && see != nil {
				if err := see((*buf)[:c.n]); err != nil {
					c.err = err
				}
			}
			if !send(ctx, ch, c) || c.err != nil {
				return
			}
		}
	})
	return &flow{ch: ch}
}

// hashing passes chunks on after they went into h.
func hashing(ctx context.Context, wg *sync.WaitGroup, in <-chan chunk, h hash.Hash) *flow {
	ch := make(chan chunk, chunkDepth)
	wg.Go(func() {
		defer close(ch)
		for c := range in {
			h.Write((*c.buf)[:c.n])
			if !send(ctx, ch, c) {
				return
			}
		}
	})
	return &flow{ch: ch}
}

func send(ctx context.Context, ch chan<- chunk, c chunk) bool {
	select {
	case ch <- c:
		return true
	case <-ctx.Done():
		return false
	}
}

// fill is io.ReadFull that keeps what it got, gives io.EOF for a clean end, and looks
// at ctx between reads.
func fill(ctx context.Context, r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if err = ctx.Err(); err != nil {
			return n, err
		}
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	return n, err
}

// stream is a layer's uncompressed bytes with everything known about them.
type stream struct {
	*flow
	compressed   hash.Hash
	uncompressed hash.Hash
	in           atomic.Int64 // compressed bytes read
	out          atomic.Int64
	raw          *flow
	stop         func() // ends the stages and waits for them
}

// open starts the stages and takes r over. The caller must call stop, which closes r to
// end a Read that is under way, and waits.
func open(ctx context.Context, r io.ReadCloser, lim Limits, progress func(int64)) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { r.Close() }) // a Read that waits for the network sees no context
	var wg sync.WaitGroup
	s := &stream{compressed: sha256.New(), uncompressed: sha256.New()}
	s.raw = pump(ctx, &wg, r, func(b []byte) error {
		s.compressed.Write(b)
		n := s.in.Add(int64(len(b)))
		if progress != nil {
			progress(n)
		}
		return nil
	})
	var closeDec func()
	s.stop = func() {
		cancel()
		wg.Wait()
		if closeDec != nil {
			closeDec()
		}
	}
	dec, closer, err := decompress(s.raw)
	if err != nil {
		s.stop()
		return nil, err
	}
	closeDec = closer
	plain := pump(ctx, &wg, blamed{dec, s.raw}, func(b []byte) error {
		return lim.checkStream(s.in.Load(), s.out.Add(int64(len(b))))
	})
	s.flow = hashing(ctx, &wg, plain.ch, s.uncompressed)
	return s, nil
}

// blamed tells errors of the compressed data from those of the stream that brings it.
type blamed struct {
	dec io.Reader
	raw *flow
}

func (b blamed) Read(p []byte) (int, error) {
	n, err := b.dec.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	if src := b.raw.cur.err; src != nil && src != io.EOF {
		return n, src
	}
	return n, fmt.Errorf("decompress: %w: %w", err, ErrInvalid)
}

// drain reads both streams to their ends: a digest is that of the whole blob.
func (s *stream) drain() error {
	if _, err := io.Copy(io.Discard, s.flow); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, s.raw)
	return err
}
