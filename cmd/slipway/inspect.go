package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "inspect POD|CONTAINER|IMAGE",
		Short:   "Print all there is to know of a pod, a container or an image, as JSON",
		Example: "  slipway inspect web\n  slipway inspect web/main | jq .info.pid",
		Args:    positional(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			m, info, err := n.inspect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			doc, err := document(m, info)
			if err != nil {
				return err
			}
			return printJSON(a.out, doc)
		},
	}
}

// inspect looks for a pod or container first, then for an image.
func (n *node) inspect(ctx context.Context, word string) (proto.Message, map[string]string, error) {
	id, isPod, err := n.podOrContainer(ctx, word)
	switch {
	case err == nil && isPod:
		r, err := n.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
		return r.GetStatus(), r.GetInfo(), err
	case err == nil:
		r, err := n.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
		return r.GetStatus(), r.GetInfo(), err
	case !errors.Is(err, lifecycle.ErrNotFound):
		return nil, nil, err
	}
	r, err := n.image.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: word}, Verbose: true})
	if err == nil && r.GetImage() == nil {
		err = fmt.Errorf("no pod, container or image %q: %w", word, lifecycle.ErrNotFound)
	}
	return r.GetImage(), r.GetInfo(), err
}

// document is {"status": …, and each verbose info as what its JSON says}, as crictl inspect has it.
func document(m proto.Message, info map[string]string) (map[string]json.RawMessage, error) {
	b, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	doc := map[string]json.RawMessage{"status": b}
	for k, v := range info {
		if !json.Valid([]byte(v)) {
			quoted, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			v = string(quoted)
		}
		doc[k] = json.RawMessage(v)
	}
	return doc, nil
}

// containerSettings is what attach needs of a container's request; CRI's status has neither.
type containerSettings struct{ Stdin, Tty bool }

func (n *node) containerConfig(ctx context.Context, id string) (containerSettings, error) {
	r, err := n.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return containerSettings{}, err
	}
	var info struct{ Config containerSettings }
	if err := json.Unmarshal([]byte(r.GetInfo()["info"]), &info); err != nil {
		return containerSettings{}, fmt.Errorf("container %s: its verbose status does not say whether it has a terminal: %w", shortID(id), err)
	}
	return info.Config, nil
}
