package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w: %w", d, err, lifecycle.ErrInvalid)
	}
	if d.Algorithm() != digest.SHA256 && d.Algorithm() != digest.SHA512 {
		return fmt.Errorf("digest %q: algorithm: %w", d, lifecycle.ErrUnsupported)
	}
	return nil
}

// Bytes fetches a small blob (a manifest, by its media type, or a configuration), at most
// limit bytes, and verifies its digest.
func (s *Session) Bytes(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := checkDigest(desc.Digest); err != nil {
		return nil, err
	}
	if desc.Size > limit {
		return nil, fmt.Errorf("%s: %s of %d bytes, at most %d: %w", s.ref, desc.MediaType, desc.Size, limit, lifecycle.ErrInvalid)
	}
	r := s.Open(ctx, desc)
	defer r.Close()
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%s: %s of more than %d bytes: %w", s.ref, desc.MediaType, limit, lifecycle.ErrInvalid)
	}
	if got := desc.Digest.Algorithm().FromBytes(buf.Bytes()); got != desc.Digest {
		return nil, fmt.Errorf("%s: the registry sent %s for %s: %w", s.ref, got, desc.Digest, lifecycle.ErrInvalid)
	}
	return buf.Bytes(), nil
}

// Open returns the blob as a stream that outlives broken and stalled connections. The
// digest is the reader's to verify. Close may be called during a Read and ends it.
func (s *Session) Open(ctx context.Context, desc ocispec.Descriptor) io.ReadCloser {
	ctx, cancel := context.WithCancelCause(ctx)
	return &blob{s: s, desc: desc, ctx: ctx, cancel: cancel}
}

var (
	errStalled = errors.New("the registry sent nothing for too long")
	errClosed  = errors.New("stream closed")
)

type blob struct {
	s      *Session
	desc   ocispec.Descriptor
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex // held over a Read, which cancel ends
	off   int64
	fails int // in a row, without a byte
	rc    io.ReadCloser
	stop  context.CancelCauseFunc // of rc's request
}

func (b *blob) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		n, err := b.read(p)
		b.off += int64(n)
		if n > 0 {
			b.fails = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		if err == io.EOF && (b.desc.Size <= 0 || b.off >= b.desc.Size) {
			return 0, io.EOF
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		b.drop()
		if b.fails++; b.fails >= b.s.o.Attempts || !b.s.again(b.ctx, err) {
			return 0, b.s.kind(b.ctx, "fetch "+b.desc.Digest.String()+" of", err)
		}
		if err := sleep(b.ctx, exponential(b.s.o.Backoff, b.fails)); err != nil {
			return 0, err
		}
	}
}

// read reads once, opening the stream where it broke, under the watch of the stall timer.
func (b *blob) read(p []byte) (int, error) {
	if b.rc == nil {
		ctx, stop := context.WithCancelCause(b.ctx)
		rc, err := b.reopen(ctx)
		if err != nil {
			stop(nil)
			return 0, err
		}
		b.rc, b.stop = rc, stop
	}
	stop := b.stop
	watch := time.AfterFunc(b.s.o.Stall, func() { stop(errStalled) })
	n, err := b.rc.Read(p)
	if !watch.Stop() && n == 0 && err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errStalled, err)
	}
	return n, err
}

// reopen is lazy in containerd's reader: the request goes out at the first Read.
func (b *blob) reopen(ctx context.Context) (io.ReadCloser, error) {
	desc := b.desc
	if desc.Size == 0 {
		desc.Size = -1 // said nowhere
	}
	rc, err := b.s.open(ctx, desc)
	if err != nil || b.off == 0 {
		return rc, err
	}
	sk, ok := rc.(io.Seeker)
	if !ok {
		rc.Close()
		return nil, fmt.Errorf("resume at %d: %w", b.off, lifecycle.ErrUnsupported)
	}
	if _, err := sk.Seek(b.off, io.SeekStart); err != nil {
		rc.Close()
		return nil, err
	}
	return rc, nil
}

func (b *blob) drop() {
	if b.rc != nil {
		b.stop(nil)
		b.rc.Close()
		b.rc = nil
	}
}

func (b *blob) Close() error {
	b.cancel(errClosed)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop()
	return nil
}
