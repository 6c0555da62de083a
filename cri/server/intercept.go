package server

import (
	"context"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/cri/validate"
)

// unary is around every call: it judges the request, turns a panic and the error's kind
// into a code, and writes the call's one log line.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if len(s.Observers) == 0 {
		return s.answer(ctx, req, info, handler)
	}
	return s.observed(ctx, req, info.FullMethod, func(ctx context.Context) (any, error) {
		return s.answer(ctx, req, info, handler)
	})
}

func (s *Server) answer(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	start := time.Now()
	resp, err := s.judged(ctx, req, info.FullMethod, handler)
	if err == nil {
		s.logCall(logrus.DebugLevel, info.FullMethod, req, start, nil)
		return resp, nil
	}
	err = toStatus(err)
	if gone := goneResponse(req); gone != nil && status.Code(err) == codes.NotFound {
		s.logCall(logrus.DebugLevel, info.FullMethod, req, start, err)
		return gone, nil
	}
	s.logCall(level(status.Code(err)), info.FullMethod, req, start, err)
	return nil, err
}

func (s *Server) judged(ctx context.Context, req any, method string, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, s.panicked(method, p)
		}
	}()
	if err := validate.Request(req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// stream is around the streaming calls.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if len(s.Observers) == 0 {
		return s.answerStream(srv, ss, info, handler)
	}
	return s.observedStream(ss, info.FullMethod, func(ss grpc.ServerStream) error {
		return s.answerStream(srv, ss, info, handler)
	})
}

func (s *Server) answerStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(info.FullMethod, p)
		}
		if err = toStatus(err); err != nil {
			s.logCall(level(status.Code(err)), info.FullMethod, nil, start, err)
		}
	}()
	return handler(srv, &judgedStream{ss, info})
}

// judgedStream judges the one request of CRI's streaming calls. Other services judge their own.
type judgedStream struct {
	grpc.ServerStream
	info *grpc.StreamServerInfo
}

func (j *judgedStream) RecvMsg(m any) error {
	if err := j.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if strings.HasPrefix(j.info.FullMethod, "/runtime.v1.") {
		return validate.Request(m)
	}
	return nil
}

// panicked writes the stack where the panic was recovered: one call's bug must not take
// the node's other pods down. The client gets no detail of it.
func (s *Server) panicked(method string, p any) error {
	s.Log.WithFields(logrus.Fields{
		"method": path.Base(method),
		"panic":  p,
		"stack":  string(debug.Stack()),
	}).Error("CRI call panicked")
	return status.Errorf(codes.Internal, "%s: internal error; the agent's log has the stack", path.Base(method))
}

// level: kubelet asks for what is gone, tries what is not there yet and gives up waiting
// as a matter of course; none of that is a fault of the node.
func level(c codes.Code) logrus.Level {
	switch c {
	case codes.NotFound, codes.Unimplemented, codes.Canceled:
		return logrus.InfoLevel
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return logrus.ErrorLevel
	}
	return logrus.WarnLevel
}

// logCall writes who was meant and how long it took, and nothing else of the request:
// environments, commands and credentials stay out of the log.
func (s *Server) logCall(l logrus.Level, method string, req any, start time.Time, err error) {
	if !s.Log.IsLevelEnabled(l) {
		return
	}
	f := logrus.Fields{
		"method":   path.Base(method),
		"duration": time.Since(start).Round(time.Microsecond).String(),
	}
	subject(f, req)
	if err == nil {
		s.Log.WithFields(f).Log(l, "CRI call")
		return
	}
	st, _ := status.FromError(err)
	f["code"] = st.Code().String()
	s.Log.WithFields(f).Log(l, "CRI call: "+st.Message())
}

func subject(f logrus.Fields, req any) {
	if r, ok := req.(interface{ GetPodSandboxId() string }); ok {
		f["pod"] = r.GetPodSandboxId()
	}
	if r, ok := req.(interface{ GetContainerId() string }); ok {
		f["container"] = r.GetContainerId()
	}
	if r, ok := req.(interface{ GetImage() *runtimeapi.ImageSpec }); ok {
		f["image"] = r.GetImage().GetImage()
	}
	switch r := req.(type) {
	case *runtimeapi.RunPodSandboxRequest:
		m := r.GetConfig().GetMetadata()
		f["pod"] = m.GetNamespace() + "/" + m.GetName()
	case *runtimeapi.CreateContainerRequest:
		f["container"] = r.GetConfig().GetMetadata().GetName()
	}
}
