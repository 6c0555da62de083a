package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/events"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/cri/convert"
)

// GetContainerEvents sends what happens from now on, until the caller leaves or the server stops. A caller
// that is events.QueueLimit behind is ended with ResourceExhausted: a kubelet lists then and comes back.
func (s *Server) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	reader := s.Events.Subscribe()
	defer reader.Close()
	// A subscriber that waits for the header knows that from here on it misses nothing.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	// Send waits for a caller that does not read, so it has a goroutine of its own. That ends with
	// the stream's context, which gRPC cancels once this function has returned.
	sent := make(chan error, 1)
	go func() { sent <- s.sendEvents(stream.Context(), reader, stream.Send) }()
	select {
	case err := <-sent:
		return err
	case <-reader.Lost():
		return reader.Err()
	case <-s.closing:
		return fmt.Errorf("the agent is ending: %w", lifecycle.ErrUnavailable)
	}
}

func (s *Server) sendEvents(ctx context.Context, reader *events.Reader, send func(*runtimeapi.ContainerEventResponse) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(runtimeapi.RuntimeService_GetContainerEvents_FullMethodName, p)
		}
	}()
	for {
		all, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		names := s.imageNames()
		for _, e := range all {
			if err := send(convert.ContainerEvent(e, names)); err != nil {
				return err
			}
		}
	}
}
