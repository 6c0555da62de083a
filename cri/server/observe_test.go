package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type mark struct{}

// witness writes down what it is told, and whether its own context came back.
type witness struct {
	mu  sync.Mutex
	all []string
}

func (w *witness) Begin(ctx context.Context, method string, req any) context.Context {
	w.add(fmt.Sprintf("begin %s %T", method, req))
	return context.WithValue(ctx, mark{}, method)
}

func (w *witness) End(ctx context.Context, method string, took time.Duration, err error) {
	w.add(fmt.Sprintf("end %s %v %v %v", method, status.Code(err), ctx.Value(mark{}) == method, took > 0))
}

func (w *witness) add(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, s)
}

func TestObserversSeeEveryCall(t *testing.T) {
	n, o := services()
	w := &witness{}
	o.Observers = []Observer{w}
	n.serve(t, o)
	ctx := callContext(t)
	if _, err := n.runtime.Version(ctx, &runtimeapi.VersionRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := n.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a request without an id: %v", err)
	}
	const service = "/runtime.v1.RuntimeService/"
	want := []string{
		"begin " + service + "Version *v1.VersionRequest", "end " + service + "Version OK true true",
		"begin " + service + "StopPodSandbox *v1.StopPodSandboxRequest", "end " + service + "StopPodSandbox InvalidArgument true true",
	}
	if !slices.Equal(w.all, want) {
		t.Errorf("%q", w.all)
	}
}
