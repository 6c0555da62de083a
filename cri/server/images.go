package server

import (
	"context"
	"errors"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/agent/lifecycle"
	"github.com/slipway-cri/slipway/cri/convert"
)

// ListImages lists the images, or those that the filter's reference stands for.
func (s *Server) ListImages(_ context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	all, err := s.imageList(r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListImagesResponse{Images: all}, nil
}

func (s *Server) imageList(f *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	list, err := s.filterImages(f.GetImage().GetImage())
	if err != nil {
		return nil, err
	}
	all := make([]*runtimeapi.Image, len(list))
	for i := range list {
		all[i] = convert.Image(list[i])
	}
	return all, nil
}

// filterImages: a repository's name without a tag stands for each of its images; any
// other reference for the one image that it resolves to.
func (s *Server) filterImages(ref string) ([]*images.Image, error) {
	all := s.Images.List()
	if ref == "" {
		return all, nil
	}
	match := convert.ImageFilter(ref)
	var list []*images.Image
	for _, i := range all {
		if match(i) {
			list = append(list, i)
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	switch one, err := s.Images.Get(ref); {
	case err == nil:
		return []*images.Image{one}, nil
	case errors.Is(err, lifecycle.ErrNotFound):
		return nil, nil
	default:
		return nil, err
	}
}

// ImageStatus describes one image. One that is not there is an empty answer, not an error.
func (s *Server) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	i, err := s.Images.Get(r.GetImage().GetImage())
	if errors.Is(err, lifecycle.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ImageStatusResponse{Image: convert.Image(i)}
	if r.GetVerbose() {
		if resp.Info, err = convert.ImageInfo(i); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// PullImage fetches an image. The answer is the image's id, as in every other message.
func (s *Server) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	if _, err := s.handler("image.runtime_handler", r.GetImage().GetRuntimeHandler()); err != nil {
		return nil, err
	}
	i, err := s.Images.Pull(ctx, r.GetImage().GetImage(), convert.Auth(r.GetAuth()), nil)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PullImageResponse{ImageRef: i.ID}, nil
}

// RemoveImage removes the whole image, whichever of its references is given, as CRI says.
// Repeatable.
func (s *Server) RemoveImage(ctx context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	i, err := s.Images.Get(r.GetImage().GetImage())
	if err != nil {
		return nil, err
	}
	if err := s.Images.Remove(ctx, i.ID); err != nil {
		return nil, err
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}

// ImageFsInfo tells what the images use. Containers live on the same file system, so the
// second list stays empty, which is CRI's default.
func (s *Server) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	info, err := s.Images.FSInfo()
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems: []*runtimeapi.FilesystemUsage{convert.ImageFsUsage(info)},
	}, nil
}
