package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cri/slipway/cmd/slipway/internal/remote"
)

func (a *app) loadCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "load [FILE]",
		Short:   "Load images from an archive",
		Long:    "Load images from a docker-save or OCI-layout tar (plain, gzip or zstd), a file or stdin.",
		Example: "  slipway load image.tar\n  docker save busybox | slipway load",
		Args:    positional(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				file = args[0]
			}
			in := a.in
			switch {
			case file != "" && file != "-":
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			case remote.IsTerminal(a.in):
				return usagef("load: name a file, or send the archive to stdin")
			}
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			list, err := n.ext.Load(cmd.Context(), bufio.NewReaderSize(in, 1<<20))
			if err != nil {
				return err
			}
			if a.json() {
				return printJSON(a.out, list)
			}
			for _, i := range list {
				names := strings.Join(i.RepoTags, " ")
				if names == "" {
					names = "no name"
				}
				fmt.Fprintf(a.out, "%s (%s, %s)\n", i.ID, names, size(uint64(i.Size)))
			}
			return nil
		},
	}
	c.Flags().StringVarP(&file, "input", "i", "", "read this file instead of stdin")
	return c
}

func (a *app) saveCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "save IMAGE...",
		Short:   "Save images to an archive",
		Long:    "Save images as an OCI layout in a tar that docker load reads too.",
		Example: "  slipway save -f busybox.tar docker.io/library/busybox:latest\n  slipway save app:1 | ssh node2 slipway load",
		Args:    positional(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "" || file == "-") && remote.IsTerminal(a.out) {
				return usagef("save: name a file with -f, or send stdout somewhere")
			}
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			if file == "" || file == "-" {
				return n.ext.Save(cmd.Context(), a.out, args...)
			}
			return writeFile(file, func(w io.Writer) error { return n.ext.Save(cmd.Context(), w, args...) })
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "write this file instead of stdout")
	return c
}

// writeFile makes file whole or not at all: an archive cut short would load until its end.
func writeFile(file string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".slipway-save-")
	if err != nil {
		return err
	}
	err = fill(f)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
