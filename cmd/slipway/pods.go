package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (a *app) podsCommand() *cobra.Command {
	var quiet bool
	var namespace string
	c := &cobra.Command{
		Use:     "pods",
		Short:   "List pods",
		Example: "  slipway pods\n  slipway pods -q\n  slipway pods -o json",
		Args:    positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			r, err := n.runtime.ListPodSandbox(cmd.Context(), &runtimeapi.ListPodSandboxRequest{})
			if err != nil {
				return err
			}
			list := slices.DeleteFunc(r.GetItems(), func(p *runtimeapi.PodSandbox) bool {
				return namespace != "" && p.GetMetadata().GetNamespace() != namespace
			})
			slices.SortFunc(list, func(x, y *runtimeapi.PodSandbox) int { return cmp.Compare(y.GetCreatedAt(), x.GetCreatedAt()) })
			if a.json() {
				return printProto(a.out, &runtimeapi.ListPodSandboxResponse{Items: list})
			}
			rows := [][]string{{"POD ID", "NAME", "NAMESPACE", "STATE", "ATTEMPT", "AGE"}}
			if quiet {
				rows = nil
			}
			for _, p := range list {
				if quiet {
					rows = append(rows, []string{p.GetId()})
					continue
				}
				m := p.GetMetadata()
				rows = append(rows, []string{
					shortID(p.GetId()), m.GetName(), m.GetNamespace(),
					strings.ToLower(strings.TrimPrefix(p.GetState().String(), "SANDBOX_")), itoa(m.GetAttempt()), age(p.GetCreatedAt()),
				})
			}
			return table(a.out, rows)
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print whole ids only")
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "of this Kubernetes namespace only")
	return c
}
