package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// Observer is told of every call (metrics, traces). Its methods must not wait.
type Observer interface {
	// Begin is told before the request is judged; req is nil for a streaming call. The call runs with
	// the context that it returns.
	Begin(ctx context.Context, method string, req any) context.Context
	// End gets the context of Begin, and the error with its gRPC status.
	End(ctx context.Context, method string, took time.Duration, err error)
}

// observed tells the observers of a unary call around f.
func (s *Server) observed(ctx context.Context, req any, method string, f func(context.Context) (any, error)) (any, error) {
	start := time.Now()
	for _, o := range s.Observers {
		ctx = o.Begin(ctx, method, req)
	}
	resp, err := f(ctx)
	took := time.Since(start)
	for _, o := range s.Observers {
		o.End(ctx, method, took, err)
	}
	return resp, err
}

// observedStream does the same for a streaming call.
func (s *Server) observedStream(ss grpc.ServerStream, method string, f func(grpc.ServerStream) error) error {
	start, ctx := time.Now(), ss.Context()
	for _, o := range s.Observers {
		ctx = o.Begin(ctx, method, nil)
	}
	err := f(&streamWith{ss, ctx})
	took := time.Since(start)
	for _, o := range s.Observers {
		o.End(ctx, method, took, err)
	}
	return err
}

// streamWith is a stream with another context.
type streamWith struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *streamWith) Context() context.Context { return s.ctx }
