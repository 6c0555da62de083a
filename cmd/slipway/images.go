package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func (a *app) imagesCommand() *cobra.Command {
	var quiet bool
	c := &cobra.Command{
		Use:     "images",
		Short:   "List images",
		Example: "  slipway images\n  slipway images -o json",
		Args:    positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			r, err := n.image.ListImages(cmd.Context(), &runtimeapi.ListImagesRequest{})
			if err != nil {
				return err
			}
			switch {
			case a.json():
				return printProto(a.out, r)
			case quiet:
				for _, i := range r.GetImages() {
					fmt.Fprintln(a.out, i.GetId())
				}
				return nil
			}
			var rows [][]string
			for _, i := range r.GetImages() {
				rows = append(rows, imageRows(i)...)
			}
			slices.SortFunc(rows, slices.Compare[[]string])
			return table(a.out, append([][]string{{"IMAGE", "TAG", "IMAGE ID", "SIZE"}}, rows...))
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print whole ids only")
	return c
}

// imageRows has one row a tag; an image without tags has one with its repository, if known.
func imageRows(i *runtimeapi.Image) [][]string {
	row := func(name, tag string) []string { return []string{name, tag, shortID(i.GetId()), size(i.GetSize())} }
	var rows [][]string
	for _, t := range i.GetRepoTags() {
		// The tag's colon is the last one; a registry's port has a slash behind it.
		if at := strings.LastIndexByte(t, ':'); at > strings.LastIndexByte(t, '/') {
			rows = append(rows, row(t[:at], t[at+1:]))
		} else {
			rows = append(rows, row(t, "<none>"))
		}
	}
	if len(rows) > 0 {
		return rows
	}
	name := "<none>"
	if d := i.GetRepoDigests(); len(d) > 0 {
		name, _, _ = strings.Cut(d[0], "@")
	}
	return [][]string{row(name, "<none>")}
}

func (a *app) rmiCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rmi IMAGE...",
		Short:   "Remove images or tags",
		Long:    "Remove a tag or digest, or the whole image where IMAGE is an id.",
		Example: "  slipway rmi docker.io/library/busybox:latest",
		Args:    positional(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			for _, ref := range args {
				// CRI's RemoveImage calls it success; who typed the name wants to know.
				if ok, err := n.hasImage(cmd.Context(), ref); err != nil {
					return err
				} else if !ok {
					return fmt.Errorf("no image %q: %w", ref, lifecycle.ErrNotFound)
				}
				if _, err := n.image.RemoveImage(cmd.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}}); err != nil {
					return err
				}
				fmt.Fprintln(a.out, ref)
			}
			return nil
		},
	}
}

func (n *node) hasImage(ctx context.Context, ref string) (bool, error) {
	r, err := n.image.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	return r.GetImage() != nil, err
}
