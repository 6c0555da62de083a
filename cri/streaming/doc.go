// Package streaming serves exec, attach and port-forward over SPDY and WebSocket on
// loopback. A CRI call leaves a request here and gets a URL with a random token, good for
// one connection and a short time; kubelet or crictl connects to it. The protocols are
// k8s.io/cri-streaming's; this package adds tokens, v5 WebSocket, SPDY tunnelled in
// WebSocket, and ties all that a connection started to its life.
//
// Running processes is not its job. A connection's context ends when its client is gone.
// The token cache and the set of connections have one lock each, held for map operations only.
package streaming
