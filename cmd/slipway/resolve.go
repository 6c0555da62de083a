package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/lifecycle"
)

// candidate is something that a word on the command line may mean.
type candidate struct {
	id    string
	names []string
	label string // for messages
}

// pick finds what word means: an exact id or name before an id's unique beginning.
func pick(kind, word string, all []candidate) (candidate, error) {
	var exact, prefix []candidate
	for _, c := range all {
		isName := false
		for _, n := range c.names {
			isName = isName || n == word
		}
		switch {
		case c.id == word:
			return c, nil
		case isName:
			exact = append(exact, c)
		case strings.HasPrefix(c.id, word):
			prefix = append(prefix, c)
		}
	}
	for _, found := range [][]candidate{exact, prefix} {
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			var list []string
			for _, c := range found {
				list = append(list, shortID(c.id)+" ("+c.label+")")
			}
			sort.Strings(list)
			return candidate{}, fmt.Errorf("%q means several %s: %s: %w", word, kind, strings.Join(list, ", "), lifecycle.ErrInvalid)
		}
	}
	return candidate{}, fmt.Errorf("no %s %q: %w", strings.ReplaceAll(strings.TrimSuffix(kind, "s"), "s and ", " or "), word, lifecycle.ErrNotFound)
}

func (n *node) podCandidates(ctx context.Context) ([]candidate, error) {
	r, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, p := range r.GetItems() {
		m := p.GetMetadata()
		full := m.GetNamespace() + "/" + m.GetName()
		all = append(all, candidate{p.GetId(), []string{m.GetName(), full}, "pod " + full})
	}
	return all, nil
}

func (n *node) containerCandidates(ctx context.Context) ([]candidate, error) {
	r, err := n.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	p, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	pods := make(map[string]string)
	inPod := make(map[string]int)
	for _, s := range p.GetItems() {
		pods[s.GetId()] = s.GetMetadata().GetName()
	}
	for _, c := range r.GetContainers() {
		inPod[c.GetPodSandboxId()]++
	}
	var all []candidate
	for _, c := range r.GetContainers() {
		name, pod := c.GetMetadata().GetName(), pods[c.GetPodSandboxId()]
		names := []string{name, pod + "/" + name}
		// A pod of one container is what `run --name` makes: its name means the container.
		if inPod[c.GetPodSandboxId()] == 1 && pod != name {
			names = append(names, pod)
		}
		all = append(all, candidate{c.GetId(), names, "container " + pod + "/" + name})
	}
	return all, nil
}

// container resolves an id, an id's beginning, a name, POD/NAME, or a pod with one container.
func (n *node) container(ctx context.Context, word string) (string, error) {
	all, err := n.containerCandidates(ctx)
	if err != nil {
		return "", err
	}
	c, err := pick("containers", word, all)
	return c.id, err
}

// pod resolves an id, an id's beginning, a name or NAMESPACE/NAME.
func (n *node) pod(ctx context.Context, word string) (string, error) {
	all, err := n.podCandidates(ctx)
	if err != nil {
		return "", err
	}
	c, err := pick("pods", word, all)
	return c.id, err
}

// podOrContainer prefers the pod: stopping or removing it takes its containers along.
func (n *node) podOrContainer(ctx context.Context, word string) (id string, isPod bool, err error) {
	pods, err := n.podCandidates(ctx)
	if err != nil {
		return "", false, err
	}
	containers, err := n.containerCandidates(ctx)
	if err != nil {
		return "", false, err
	}
	c, err := pick("pods and containers", word, append(append([]candidate{}, pods...), onlyOwnNames(containers)...))
	if err != nil {
		return "", false, err
	}
	for _, p := range pods {
		isPod = isPod || p.id == c.id
	}
	return c.id, isPod, nil
}

// onlyOwnNames leaves out a pod's name as a name of its container.
func onlyOwnNames(all []candidate) []candidate {
	out := make([]candidate, len(all))
	for i, c := range all {
		c.names = c.names[:2]
		out[i] = c
	}
	return out
}
