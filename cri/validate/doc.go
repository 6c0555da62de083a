// Package validate judges CRI requests at the door: whatever passes has its required
// parts, known enum values, sane numbers, and strings that are safe to put into paths, files and
// logs. It is pure and holds no locks. The first fault found is returned, as an *Error.
//
// What needs the node or the image to judge (does the path exist, is the capability
// known, is there such a pod) is not its job.
package validate
