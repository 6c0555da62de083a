// Package convert turns the agent's snapshots into CRI messages: statuses, list items,
// stats and the JSON of verbose info. It is pure: no clock, no I/O, no locks; what it
// returns shares maps and messages with the snapshots, which nobody modifies.
//
// Requests are judged in cri/validate; errors become gRPC codes in cri/server.
package convert
