package store

import (
	"os"
	"slices"
	"strconv"
)

// Use counts user as a user of the image's layers and returns their names, top-most
// first, each once, never none. It returns nil when there is no such image.
func (s *Store) Use(id, user string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	img := s.ByID(id)
	if img == nil {
		return nil
	}
	names := lower(img)
	for _, n := range names {
		if n != EmptyLower {
			s.held[n]++
			s.users[user] = append(s.users[user], n)
		}
	}
	return names
}

// lower is the image's layers as overlayfs wants them: it refuses a directory given
// twice, and the upper of two equal layers hides all of the other.
func lower(img *Image) []string {
	var out []string
	for _, n := range slices.Backward(img.Layers) {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if out == nil {
		out = []string{EmptyLower}
	}
	return out
}

// Lower returns the same names without a claim, nil when there is no such image.
func (s *Store) Lower(id string) []string {
	img := s.ByID(id)
	if img == nil {
		return nil
	}
	return lower(img)
}

// Release ends all uses of user. Layers that nothing needs any more are removed in the
// background.
func (s *Store) Release(user string) {
	s.mu.Lock()
	names := s.users[user]
	delete(s.users, user)
	s.mu.Unlock()
	s.unhold(names)
}

func (s *Store) unhold(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := false
	for _, n := range names {
		if s.held[n]--; s.held[n] <= 0 {
			delete(s.held, n)
			free = free || !s.index.Load().uses[n]
		}
	}
	if free {
		s.collect()
		s.reaper.Go(s.Reap)
	}
}

// collect takes the layers that no image, pull or user needs out of their places; it
// wants s.mu. Renames only: Reap does the rest.
func (s *Store) collect() {
	uses := s.index.Load().uses
	for name, l := range s.layers {
		if uses[name] || s.held[name] > 0 {
			continue
		}
		s.tmpSeq++
		dead := s.path(tmpDir, "dead-"+strconv.Itoa(s.tmpSeq))
		// The record first: a layer without one does not exist.
		if os.Rename(s.path(layerDir, name), dead) != nil {
			continue // tried again at the next collection
		}
		s.dead = append(s.dead, dead)
		if os.Rename(s.path(lowerDir, name), dead+"-fs") == nil {
			s.dead = append(s.dead, dead+"-fs")
		}
		delete(s.layers, name)
		s.account(l, -1)
	}
}

// Reap removes what was collected.
func (s *Store) Reap() {
	s.mu.Lock()
	dead := s.dead
	s.dead = nil
	s.mu.Unlock()
	for _, d := range dead {
		s.remove(d)
	}
}
