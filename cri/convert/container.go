package convert

import (
	"slices"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/containers"
	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// ImageNames answers with the tags and digests of an image, by its id. The server looks
// each image up once a call and hands the answers in.
type ImageNames func(id string) (tags, digests []string)

// ContainerState maps a container's stored state. One whose gate is just being opened is
// still CREATED; one that is being removed has ended.
func ContainerState(s lifecycle.ContainerState) runtimeapi.ContainerState {
	switch s {
	case lifecycle.ContainerCreating, lifecycle.ContainerCreated, lifecycle.ContainerStarting:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case lifecycle.ContainerRunning:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case lifecycle.ContainerExited, lifecycle.ContainerRemoving:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

// ContainerListed tells whether a list shows the container: as for pods, one that is
// being made is not there yet.
func ContainerListed(c *containers.Container) bool { return c.State != lifecycle.ContainerCreating }

// Container is a container as ListContainers shows it.
func Container(c *containers.Container, names ImageNames) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id:           c.ID,
		PodSandboxId: c.PodID,
		Metadata:     c.Config.GetMetadata(),
		Image:        containerImage(c, names),
		ImageRef:     c.ImageRef,
		State:        ContainerState(c.State),
		CreatedAt:    nanos(c.CreatedAt),
		Labels:       c.Config.GetLabels(),
		Annotations:  c.Config.GetAnnotations(),
		ImageId:      c.ImageID,
	}
}

// ContainerStatus is a container as ContainerStatus shows it.
func ContainerStatus(c *containers.Container, names ImageNames) *runtimeapi.ContainerStatus {
	s := &runtimeapi.ContainerStatus{
		Id:          c.ID,
		Metadata:    c.Config.GetMetadata(),
		State:       ContainerState(c.State),
		CreatedAt:   nanos(c.CreatedAt),
		StartedAt:   nanos(c.StartedAt),
		FinishedAt:  nanos(c.FinishedAt),
		Image:       containerImage(c, names),
		ImageRef:    c.ImageRef,
		Reason:      reason(c),
		Message:     c.Message,
		Labels:      c.Config.GetLabels(),
		Annotations: c.Config.GetAnnotations(),
		Mounts:      containerMounts(c),
		LogPath:     c.LogPath,
		ImageId:     c.ImageID,
		User:        c.User,
		StopSignal:  StopSignal(c.StopSignal),
	}
	if s.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		s.ExitCode = int32(c.ExitCode)
	}
	if r := c.Config.GetLinux().GetResources(); r != nil {
		s.Resources = &runtimeapi.ContainerResources{Linux: r}
	}
	return s
}

// containerMounts are those of the request; an image volume tells which image it has become.
func containerMounts(c *containers.Container) []*runtimeapi.Mount {
	mounts := c.Config.GetMounts()
	if len(c.VolumeImages) == 0 {
		return mounts
	}
	mounts = slices.Clone(mounts)
	for _, v := range c.VolumeImages {
		if v.Mount < len(mounts) {
			m := proto.CloneOf(mounts[v.Mount])
			m.Image.ImageRef = v.ID // as PullImage answered
			mounts[v.Mount] = m
		}
	}
	return mounts
}

// reason is the record's, or for an ended container without one what kubelet's own
// vocabulary says of its exit code.
func reason(c *containers.Container) string {
	switch {
	case c.Reason != "" || ContainerState(c.State) != runtimeapi.ContainerState_CONTAINER_EXITED:
		return c.Reason
	case c.ExitCode == 0:
		return "Completed"
	}
	return "Error"
}

// containerImage is the image as a person knows it. kubelet creates containers by image id,
// and shows users what the status says, so an id is replaced by the name that the user gave,
// if the image has it, else by the image's first name.
func containerImage(c *containers.Container, names ImageNames) *runtimeapi.ImageSpec {
	spec := c.Config.GetImage()
	if spec == nil || names == nil || !isImageID(spec.GetImage()) {
		return spec
	}
	name := displayName(spec.GetUserSpecifiedImage(), c.ImageID, names)
	if name == "" {
		return spec
	}
	return &runtimeapi.ImageSpec{
		Image:              name,
		Annotations:        spec.GetAnnotations(),
		UserSpecifiedImage: spec.GetUserSpecifiedImage(),
		RuntimeHandler:     spec.GetRuntimeHandler(),
		ImageRef:           spec.GetImageRef(),
	}
}

func displayName(wanted, id string, names ImageNames) string {
	tags, digests := names(id)
	if len(tags) > 1 && wanted != "" {
		for _, t := range tags {
			if sameReference(t, wanted) {
				return t
			}
		}
	}
	switch {
	case len(tags) > 0:
		return tags[0]
	case len(digests) > 0:
		return digests[0]
	}
	return ""
}
