package extension

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// stepInterval is how often one layer's progress within a phase is told. A reader at 10 Hz sees
// no more, and a pull makes thousands of steps a second.
const stepInterval = 100 * time.Millisecond

func pull(srv any, stream grpc.ServerStream) error {
	var r PullRequest
	if err := recvJSON(stream, &r); err != nil {
		return err
	}
	if r.Ref == "" {
		return fmt.Errorf("pull: no reference: %w", lifecycle.ErrInvalid)
	}
	p := &progress{stream: stream, last: make(map[string]told), now: time.Now}
	image, err := srv.(*Server).Images.Pull(stream.Context(), r.Ref, r.Auth, p.step)
	p.close()
	if err != nil {
		return err
	}
	i := toImage(image)
	return sendJSON(stream, PullEvent{Image: &i})
}

// progress thins out steps and writes them. Steps come from several goroutines, and a
// shared pull may still make some after this caller's has returned.
type progress struct {
	stream grpc.ServerStream
	now    func() time.Time

	mu     sync.Mutex
	closed bool
	last   map[string]told
}

type told struct {
	phase string
	at    time.Time
}

func (p *progress) step(s images.Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, last := p.now(), p.last[s.Layer]
	complete := s.Total > 0 && s.Current >= s.Total
	if p.closed || last.phase == s.Phase && !complete && now.Sub(last.at) < stepInterval {
		return
	}
	p.last[s.Layer] = told{s.Phase, now}
	// A client that went away cancels the stream's context, which ends the pull.
	if err := sendJSON(p.stream, PullEvent{Step: &s}); err != nil {
		p.closed = true
	}
}

func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

func load(srv any, stream grpc.ServerStream) error {
	list, err := srv.(*Server).Images.Load(stream.Context(), &chunkReader{recv: func(m *wrapperspb.BytesValue) error {
		return stream.RecvMsg(m)
	}})
	if err != nil {
		return err
	}
	out := make([]Image, 0, len(list))
	for _, i := range list {
		out = append(out, toImage(i))
	}
	return sendJSON(stream, out)
}

func save(srv any, stream grpc.ServerStream) error {
	var r SaveRequest
	if err := recvJSON(stream, &r); err != nil {
		return err
	}
	if len(r.Refs) == 0 {
		return fmt.Errorf("save: no images: %w", lifecycle.ErrInvalid)
	}
	w := &chunkWriter{send: func(m *wrapperspb.BytesValue) error { return stream.SendMsg(m) }}
	if err := srv.(*Server).Images.Save(stream.Context(), w, r.Refs...); err != nil {
		return err
	}
	return w.flush()
}

// chunkReader reads an archive out of messages.
type chunkReader struct {
	recv func(*wrapperspb.BytesValue) error
	rest []byte
	err  error
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		m := new(wrapperspb.BytesValue)
		if r.err = r.recv(m); r.err != nil {
			continue
		}
		r.rest = m.GetValue()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// chunkWriter gathers small writes (a tar header is 512 bytes) into whole chunks. SendMsg
// encodes before it returns, so the buffer is used again.
type chunkWriter struct {
	send func(*wrapperspb.BytesValue) error
	buf  []byte
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(chunk-len(w.buf), len(p))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == chunk {
			if err := w.flush(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

func (w *chunkWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(wrapperspb.Bytes(w.buf))
	w.buf = w.buf[:0]
	// io.EOF from a stream's SendMsg means that the peer has answered already.
	if errors.Is(err, io.EOF) {
		return io.ErrClosedPipe
	}
	return err
}
