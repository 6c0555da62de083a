// Package e2e tests the whole node on the real kernel, from outside: the real binaries, CRI calls over
// gRPC, images from a real registry, and the machine's books balanced after each test. It holds tests
// and their fixture only. The binaries are those of $SLIPWAY_TEST_BIN, or are built once.
package e2e
