package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// kinds is searched from the top: an error of several kinds gets the first one's code.
// A timeout of the agent's own comes before the context's, which it may wrap.
var kinds = []struct {
	kind error
	code codes.Code
}{
	{lifecycle.ErrNotFound, codes.NotFound},
	{lifecycle.ErrExists, codes.AlreadyExists},
	{lifecycle.ErrInvalid, codes.InvalidArgument},
	{lifecycle.ErrState, codes.FailedPrecondition},
	{lifecycle.ErrInProgress, codes.Aborted},
	{lifecycle.ErrUnsupported, codes.Unimplemented},
	{lifecycle.ErrExhausted, codes.ResourceExhausted},
	{lifecycle.ErrTimeout, codes.DeadlineExceeded},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
	{lifecycle.ErrUnavailable, codes.Unavailable},
}

// toStatus turns an error's kind into a gRPC status with the error's text. What is a
// status already stays one; what has no kind is Internal.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		return st.Err()
	}
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return status.Error(k.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

// goneResponse is the answer of the calls for which CRI says that having nothing to do is
// success: a Stop or Remove of what is not there. nil for all others.
func goneResponse(req any) any {
	switch req.(type) {
	case *runtimeapi.StopPodSandboxRequest:
		return &runtimeapi.StopPodSandboxResponse{}
	case *runtimeapi.RemovePodSandboxRequest:
		return &runtimeapi.RemovePodSandboxResponse{}
	case *runtimeapi.StopContainerRequest:
		return &runtimeapi.StopContainerResponse{}
	case *runtimeapi.RemoveContainerRequest:
		return &runtimeapi.RemoveContainerResponse{}
	case *runtimeapi.RemoveImageRequest:
		return &runtimeapi.RemoveImageResponse{}
	}
	return nil
}
