package streaming

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Remote commands over WebSocket: each message begins with its channel's number (0 stdin,
// 1 stdout, 2 stderr, 3 status, 4 resize). v5 adds a message that closes a channel, which is
// how a client says that stdin has ended (KEP-4006); crictl and kubectl speak only v5, and
// cri-streaming's own handler stops at v4. Up to v3 the status is plain text.
const (
	channelStatus = 3
	channelResize = 4
)

var webSocketProtocols = map[string]bool{ // to whether messages are binary
	"":                                      true,
	remotecommand.StreamProtocolV5Name:      true,
	remotecommand.StreamProtocolV4Name:      true,
	wsstream.ChannelWebSocketProtocol:       true,
	"v4.base64.channel.k8s.io":              false,
	wsstream.Base64ChannelWebSocketProtocol: false,
}

func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request, opts *remotecommand.Options, run func(context.Context, stdio) error) {
	channels := []wsstream.ChannelType{
		readIf(opts.Stdin), writeIf(opts.Stdout), writeIf(opts.Stderr),
		wsstream.WriteChannel, wsstream.ReadChannel,
	}
	protocols := make(map[string]wsstream.ChannelProtocolConfig, len(webSocketProtocols))
	for name, binary := range webSocketProtocols {
		protocols[name] = wsstream.ChannelProtocolConfig{Binary: binary, Channels: channels}
	}
	conn := wsstream.NewConn(protocols)
	conn.SetIdleTimeout(s.o.IdleTimeout)
	protocol, ch, err := conn.Open(w, r)
	if err != nil {
		return // Open has answered the client
	}
	defer conn.Close()
	// The library keeps reading for as long as the connection is open; a client waits for
	// a first message, empty, before it sends anything.
	if _, err := ch[firstWritable(opts)].Write(nil); err != nil {
		return
	}
	resize := make(chan remotecommand.TerminalSize)
	go decodeSizes(r.Context(), ch[channelResize], resize)

	err = run(r.Context(), stdio{ch[0], ch[1], ch[2], resize})
	if status := statusMessage(err, strings.HasPrefix(protocol, "v")); status != nil {
		_, _ = ch[channelStatus].Write(status) // the client may be gone; there is nobody else to tell
	}
}

func readIf(on bool) wsstream.ChannelType {
	if on {
		return wsstream.ReadChannel
	}
	return wsstream.IgnoreChannel
}

func writeIf(on bool) wsstream.ChannelType {
	if on {
		return wsstream.WriteChannel
	}
	return wsstream.IgnoreChannel
}

func firstWritable(opts *remotecommand.Options) int {
	switch {
	case opts.Stdout:
		return 1
	case opts.Stderr:
		return 2
	}
	return channelStatus
}

// decodeSizes reads {"Width":W,"Height":H} objects until the channel ends, which it does
// with the connection. After a malformed one the rest is read and dropped, so that the
// connection's reader goes on.
func decodeSizes(ctx context.Context, r io.Reader, sizes chan<- remotecommand.TerminalSize) {
	defer close(sizes)
	d := json.NewDecoder(r)
	for {
		var size remotecommand.TerminalSize
		if err := d.Decode(&size); err != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		select {
		case sizes <- size:
		case <-ctx.Done():
			return
		}
	}
}

// status is the part of Kubernetes' Status object that clients of remote commands read.
type status struct {
	Status  string         `json:"status"`
	Message string         `json:"message,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Details *statusDetails `json:"details,omitempty"`
	Code    int32          `json:"code,omitempty"`
}

type statusDetails struct {
	Causes []statusCause `json:"causes"`
}

type statusCause struct {
	Type    string `json:"reason"`
	Message string `json:"message"`
}

// statusMessage is what goes to the status channel; nil for none.
func statusMessage(err error, structured bool) []byte {
	if !structured {
		if err == nil {
			return nil
		}
		return []byte(err.Error())
	}
	s := status{Status: "Success"}
	var exit exitError
	switch {
	case errors.As(err, &exit):
		s = status{
			Status: "Failure", Message: err.Error(), Reason: remotecommand.NonZeroExitCodeReason,
			Details: &statusDetails{[]statusCause{{remotecommand.ExitCodeCauseType, strconv.Itoa(int(exit))}}},
		}
	case err != nil:
		s = status{Status: "Failure", Message: err.Error(), Reason: "InternalError", Code: http.StatusInternalServerError}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Appendf(nil, `{"status":"Failure","message":%q}`, err)
	}
	return b
}
