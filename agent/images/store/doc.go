// Package store keeps images on disk and in memory: layer directories shared by their
// diffID, one record an image, the maps from tags and digests to images, who uses what,
// and how much it all takes. It neither fetches nor unpacks.
//
// Readers load an immutable index and take no lock. One mutex orders what changes the
// index, the uses and the books; nothing is read, written or removed in bulk under it.
package store
