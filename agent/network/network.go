// Package network is what a pod needs of the node's network, behind one interface with
// two drivers: bridge/ (built in) and cni/ (when a CNI configuration is there).
package network

import (
	"context"
	"net/netip"
)

// Pod describes the pod to connect. NetNS is a path that stays valid for the call (a pin).
type Pod struct {
	ID, Name, Namespace, UID string
	NetNS                    string
	Ports                    []PortMapping
	Annotations              map[string]string
	// Previous is the Result of an earlier Setup of this pod, for Teardown and Check.
	Previous *Result
}

// PortMapping is one host port. HostIP may be zero (all addresses).
type PortMapping struct {
	Protocol      string // "tcp", "udp", "sctp"
	HostIP        netip.Addr
	HostPort      uint16
	ContainerPort uint16
}

// Result is what the pod got. It is stored in the pod's record as JSON.
type Result struct {
	IPs       []netip.Prefix // first is the pod's primary address
	Iface     string         // name inside, "eth0"
	HostIface string         `json:",omitempty"`
	Gateways  []netip.Addr   `json:",omitempty"`
	Raw       []byte         `json:",omitempty"` // CNI: the result as the plugins gave it
}

// Network connects pods. Setup undoes what it did when it fails; Teardown may be repeated
// and is no error when nothing is left, even after the namespace is gone.
type Network interface {
	Name() string
	Setup(ctx context.Context, p Pod) (*Result, error)
	Teardown(ctx context.Context, p Pod) error
	// Check returns an error when the pod's connection is no longer as Setup left it.
	Check(ctx context.Context, p Pod) error
	// Ready returns nil, or why no pod can be connected now.
	Ready() error
	// Recover tells the driver which pods exist, before anything else is called: addresses
	// are taken from them, and what belongs to no pod is removed.
	Recover(ctx context.Context, pods []Pod) error
	// Close gives back what the driver itself holds; with purge also bridge and tables.
	Close(purge bool) error
}
