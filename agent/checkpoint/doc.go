// Package checkpoint captures running containers with CRIU and reads the archives that it
// wrote: the criu program, one frozen cut through several containers, and the archive. Which
// containers, and where their archives go, is its caller's business; the CRI calls do not
// reach it yet. An archive is untrusted, whoever brings it: Unpack gives plain files and
// directories below one directory and nothing else. No state, no locks: every function may be
// called concurrently for different directories.
package checkpoint
