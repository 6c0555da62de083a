// Package layers turns the stream of one image layer into a directory that overlayfs
// can use as a lower, and such a directory back into the same bytes. A layer is
// untrusted: every name is resolved inside the layer's root by descriptor, and what it
// may cost is bounded. Which layers exist, and where, is the business of store.
// An Unpack is one goroutine's work (its pipeline stages end with it); nothing is shared.
package layers
