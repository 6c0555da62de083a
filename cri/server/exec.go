package server

import (
	"context"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// maxOutput is what an ExecSync answer may carry of both streams together: CRI says 16 MiB
// a response, and that is also where kubelet stops reading the whole message, so a little
// is kept for the message's own bytes.
const maxOutput = maxMessage - 4096

// ExecSync runs a command and answers with its output, cut at maxOutput, and exit code.
func (s *Server) ExecSync(ctx context.Context, r *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	c, err := s.running(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	out, errOut, code, err := s.Containers.ExecSync(ctx, c.ID, r.GetCmd(), seconds(r.GetTimeout()))
	if err != nil {
		return nil, err
	}
	out, errOut = cut(out, errOut, maxOutput)
	return &runtimeapi.ExecSyncResponse{Stdout: out, Stderr: errOut, ExitCode: code}, nil
}

// cut bounds both together; each is sure of one half.
func cut(out, errOut []byte, limit int) (o, e []byte) {
	if len(out)+len(errOut) <= limit {
		return out, errOut
	}
	errRoom := max(limit/2, limit-len(out))
	errOut = errOut[:min(len(errOut), errRoom)]
	out = out[:min(len(out), limit-len(errOut))]
	return out, errOut
}

func (s *Server) running(id string) (*containers.Container, error) {
	c, err := s.Containers.Get(id)
	if err != nil {
		return nil, err
	}
	if c.State != lifecycle.ContainerRunning {
		return nil, fmt.Errorf("container %s is %s, not running: %w", c.ID, c.State, lifecycle.ErrState)
	}
	return c, nil
}

// Exec prepares an endpoint for running a command with streams.
func (s *Server) Exec(_ context.Context, r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if s.Streams == nil {
		return nil, noStreams()
	}
	c, err := s.running(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return s.Streams.GetExec(&runtimeapi.ExecRequest{
		ContainerId: c.ID, Cmd: r.GetCmd(), Tty: r.GetTty(),
		Stdin: r.GetStdin(), Stdout: r.GetStdout(), Stderr: r.GetStderr(),
	})
}

// Attach prepares an endpoint for the streams of the container's own process. One may
// attach before the start, so as to miss nothing of the output.
func (s *Server) Attach(_ context.Context, r *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if s.Streams == nil {
		return nil, noStreams()
	}
	c, err := s.Containers.Get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	if c.State != lifecycle.ContainerRunning && c.State != lifecycle.ContainerCreated {
		return nil, fmt.Errorf("container %s is %s, neither running nor created: %w", c.ID, c.State, lifecycle.ErrState)
	}
	return s.Streams.GetAttach(&runtimeapi.AttachRequest{
		ContainerId: c.ID, Tty: r.GetTty(),
		Stdin: r.GetStdin(), Stdout: r.GetStdout(), Stderr: r.GetStderr(),
	})
}

// PortForward prepares an endpoint for connections into a pod.
func (s *Server) PortForward(_ context.Context, r *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	if s.Streams == nil {
		return nil, noStreams()
	}
	p, err := s.Pods.Get(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if p.State != lifecycle.PodReady {
		return nil, fmt.Errorf("pod %s is %s, not ready: %w", p.ID, p.State, lifecycle.ErrState)
	}
	return s.Streams.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: p.ID, Port: r.GetPort()})
}

func noStreams() error {
	return fmt.Errorf("streaming is turned off on this node: %w", lifecycle.ErrUnsupported)
}
