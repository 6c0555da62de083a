package e2e

import (
	"testing"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// An image volume shows another image's files, read-only, and keeps them while the container is there.
func TestImageVolume(t *testing.T) {
	n := startNode(t)
	n.pull()
	pulled, err := n.images.PullImage(n.ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: busybox}})
	if err != nil {
		t.Fatal(err)
	}
	p := n.runPod("image-volume", nil)
	volume := func(path, sub string, options ...string) *runtimeapi.Mount {
		return &runtimeapi.Mount{
			ContainerPath: path, Image: &runtimeapi.ImageSpec{Image: busybox}, ImageSubPath: sub, Readonly: true, MountOptions: options,
		}
	}
	c := p.run("a", forever, func(c *containerConfig) {
		c.Mounts = []*runtimeapi.Mount{volume("/all", ""), volume("/sub", "bin", "noexec"), volume("/one", "bin/busybox")}
	})
	c.sh("/all/bin/busybox true; /one true; [ -f /sub/busybox ]; ! /sub/busybox true 2>/dev/null; ! touch /all/x 2>/dev/null; ! touch /sub/x 2>/dev/null")
	missing := p.config("b", forever, func(c *containerConfig) {
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/v", Image: &runtimeapi.ImageSpec{Image: registry + "/e2e/none:1"}, Readonly: true}}
	})
	_, err = n.runtime.CreateContainer(n.ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: missing, SandboxConfig: p.cfg})
	wantCode(t, err, codes.NotFound, "mounts[0].image")
	for _, m := range c.status().Mounts {
		if m.Image.ImageRef != pulled.ImageRef {
			t.Errorf("%s: image_ref %q, want what PullImage said, %q", m.ContainerPath, m.Image.ImageRef, pulled.ImageRef)
		}
	}
	if _, err := n.images.RemoveImage(n.ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: busybox}}); err != nil {
		t.Fatal(err)
	}
	n.kill()
	n.start()
	c.sh("/all/bin/busybox true")
}
