// Package server is the CRI face of the agent: it listens on the socket, judges requests
// at the door, calls the agent's services and turns their errors into gRPC codes. One file
// per group of calls; conversions are in cri/convert, streams in cri/streaming.
//
// It keeps no state of its own and takes no lock: lists and statuses read the services'
// immutable snapshots, so a call that hangs never holds up another.
package server
