package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/images"
	"github.com/slipway-cri/slipway/cmd/slipway/internal/remote"
	"github.com/slipway-cri/slipway/cri/extension"
)

func (a *app) pullCommand() *cobra.Command {
	var creds string
	var quiet bool
	c := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Pull images from a registry",
		Long: `Pull images from a registry. On a terminal each layer has a progress bar, otherwise each step a line.

Credentials come from --creds or SLIPWAY_CREDS, as USER:PASSWORD.`,
		Example: "  slipway pull docker.io/library/busybox:latest\n  SLIPWAY_CREDS=me:secret slipway pull registry.example/app:1",
		Args:    positional(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			auth, err := parseCreds(creds)
			if err != nil {
				return err
			}
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var pulled []*extension.Image
			for _, ref := range args {
				i, err := a.pull(cmd.Context(), n, ref, auth, quiet)
				if err != nil {
					return err
				}
				pulled = append(pulled, i)
			}
			if a.json() {
				return printJSON(a.out, pulled)
			}
			for _, i := range pulled {
				fmt.Fprintln(a.out, i.ID)
			}
			return nil
		},
	}
	c.Flags().StringVar(&creds, "creds", "", "USER:PASSWORD for the registry (other users can see it in ps; prefer SLIPWAY_CREDS)")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return c
}

func parseCreds(flag string) (*images.Auth, error) {
	if flag == "" {
		flag = os.Getenv("SLIPWAY_CREDS")
	}
	if flag == "" {
		return nil, nil
	}
	user, password, ok := strings.Cut(flag, ":")
	if !ok || user == "" {
		return nil, usagef("credentials: want USER:PASSWORD")
	}
	return &images.Auth{Username: user, Password: password}, nil
}

// pull uses the extension for its progress; a runtime without it pulls all the same.
func (a *app) pull(ctx context.Context, n *node, ref string, auth *images.Auth, quiet bool) (*extension.Image, error) {
	var show images.Progress
	var finish func()
	if !quiet {
		p := newProgress(a.err, remote.IsTerminal(a.err), ref)
		show, finish = p.step, p.finish
	}
	i, err := n.ext.Pull(ctx, ref, auth, show)
	if finish != nil {
		finish()
	}
	if status.Code(err) != codes.Unimplemented {
		return i, err
	}
	a.note("%s: pulling (this runtime tells no progress)", ref)
	r, err := n.image.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}, Auth: criAuth(auth)})
	if err != nil {
		return nil, err
	}
	return &extension.Image{ID: r.GetImageRef()}, nil
}

func criAuth(auth *images.Auth) *runtimeapi.AuthConfig {
	if auth == nil {
		return nil
	}
	return &runtimeapi.AuthConfig{
		Username: auth.Username, Password: auth.Password,
		Auth: base64.StdEncoding.EncodeToString([]byte(auth.Username + ":" + auth.Password)),
	}
}
