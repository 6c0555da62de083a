package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/agent/pods"
)

// drain reads a stream to its end, a line for each item.
func drain[R any, T proto.Message](t *testing.T, stream interface{ Recv() (R, error) }, err error, items func(R) []T) (all []string, messages int) {
	t.Helper()
	for err == nil {
		var r R
		if r, err = stream.Recv(); err == nil {
			messages++
			part := items(r)
			if len(part) == 0 {
				t.Error("a message without items")
			}
			for _, item := range part {
				all = append(all, compact(item))
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	return all, messages
}

func lines[T proto.Message](items []T) (all []string) {
	for _, item := range items {
		all = append(all, compact(item))
	}
	return all
}

// TestStreamsAreTheLists: each stream gives what the list beside it gives, filtered alike.
func TestStreamsAreTheLists(t *testing.T) {
	n := start(t)
	ctx := callContext(t)
	for _, sel := range []map[string]string{nil, {"app": "ready"}, {"app": "run1"}, {"app": "nobody"}} {
		podFilter := &runtimeapi.PodSandboxFilter{LabelSelector: sel}
		pods, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: podFilter})
		same(t, "pods", lines(pods.GetItems()), err, func() []string {
			s, err := n.runtime.StreamPodSandboxes(ctx, &runtimeapi.StreamPodSandboxesRequest{Filter: podFilter})
			all, _ := drain(t, s, err, (*runtimeapi.StreamPodSandboxesResponse).GetPodSandboxes)
			return all
		})
		filter := &runtimeapi.ContainerFilter{LabelSelector: sel}
		list, err := n.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: filter})
		same(t, "containers", lines(list.GetContainers()), err, func() []string {
			s, err := n.runtime.StreamContainers(ctx, &runtimeapi.StreamContainersRequest{Filter: filter})
			all, _ := drain(t, s, err, (*runtimeapi.StreamContainersResponse).GetContainers)
			return all
		})
		statsFilter := &runtimeapi.ContainerStatsFilter{LabelSelector: sel}
		stats, err := n.runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{Filter: statsFilter})
		same(t, "container stats", lines(stats.GetStats()), err, func() []string {
			s, err := n.runtime.StreamContainerStats(ctx, &runtimeapi.StreamContainerStatsRequest{Filter: statsFilter})
			all, _ := drain(t, s, err, (*runtimeapi.StreamContainerStatsResponse).GetContainerStats)
			return all
		})
		podStatsFilter := &runtimeapi.PodSandboxStatsFilter{LabelSelector: sel}
		podStats, err := n.runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{Filter: podStatsFilter})
		same(t, "pod stats", lines(podStats.GetStats()), err, func() []string {
			s, err := n.runtime.StreamPodSandboxStats(ctx, &runtimeapi.StreamPodSandboxStatsRequest{Filter: podStatsFilter})
			all, _ := drain(t, s, err, (*runtimeapi.StreamPodSandboxStatsResponse).GetPodSandboxStats)
			return all
		})
	}
	for _, ref := range []string{"", "docker.io/library/busybox", imageID, "nobody"} {
		filter := &runtimeapi.ImageFilter{Image: &runtimeapi.ImageSpec{Image: ref}}
		list, err := n.image.ListImages(ctx, &runtimeapi.ListImagesRequest{Filter: filter})
		same(t, "images", lines(list.GetImages()), err, func() []string {
			s, err := n.image.StreamImages(ctx, &runtimeapi.StreamImagesRequest{Filter: filter})
			all, _ := drain(t, s, err, (*runtimeapi.StreamImagesResponse).GetImages)
			return all
		})
	}
}

func same(t *testing.T, what string, list []string, err error, stream func() []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got := stream(); !slices.Equal(got, list) {
		t.Errorf("%s: streamed %q, listed %q", what, got, list)
	}
}

// many fills the node with pods of about size bytes each.
func (n *node) many(count, size int) {
	n.pods.list = nil
	for i := range count {
		id := fmt.Sprintf("pod%d", i)
		n.pods.list = append(n.pods.list, &pods.Pod{ID: id, State: lifecycle.PodReady, Config: &runtimeapi.PodSandboxConfig{
			Metadata:    &runtimeapi.PodSandboxMetadata{Name: id},
			Annotations: map[string]string{"a": strings.Repeat("x", size)},
		}})
	}
}

// TestStreamChunks: no message above the bounds, and every item once, where the list is too long for gRPC.
func TestStreamChunks(t *testing.T) {
	n := start(t)
	for _, tc := range []struct{ count, size, least int }{{3000, 10, 6}, {40, 1 << 20, 20}} {
		n.many(tc.count, tc.size)
		s, err := n.runtime.StreamPodSandboxes(callContext(t), &runtimeapi.StreamPodSandboxesRequest{})
		all, messages := drain(t, s, err, (*runtimeapi.StreamPodSandboxesResponse).GetPodSandboxes)
		slices.Sort(all)
		if len(all) != tc.count || len(slices.Compact(all)) != tc.count {
			t.Errorf("%d pods of %d bytes: got %d", tc.count, tc.size, len(all))
		}
		if messages < tc.least {
			t.Errorf("%d pods of %d bytes came in %d messages", tc.count, tc.size, messages)
		}
	}
}

func TestStreamIsCancelled(t *testing.T) {
	n := start(t)
	n.many(40, 1<<20)
	ctx, cancel := context.WithCancel(callContext(t))
	s, err := n.runtime.StreamPodSandboxes(ctx, &runtimeapi.StreamPodSandboxesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	err = sendChunks(ended, []*runtimeapi.Image{{Id: "a"}}, func([]*runtimeapi.Image) error { t.Error("sent"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestStreamsAreJudged: the requests of streams meet the same door as those of lists.
func TestStreamsAreJudged(t *testing.T) {
	n := start(t)
	s, err := n.runtime.StreamPodSandboxes(callContext(t), &runtimeapi.StreamPodSandboxesRequest{
		Filter: &runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{State: 7}},
	})
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "filter.state.state") {
		t.Error(err)
	}
}
