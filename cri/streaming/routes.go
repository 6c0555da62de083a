package streaming

import (
	"net/http"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// routes: GET for WebSocket, POST for SPDY, though either is taken for both.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/exec/{token}":        route(s, s.serveExec),
		"/attach/{token}":      route(s, s.serveAttach),
		"/portforward/{token}": route(s, s.servePortForward),
	} {
		mux.HandleFunc("GET "+path, h)
		mux.HandleFunc("POST "+path, h)
	}
	return mux
}

// route spends the token and runs serve if it was left for this verb. Unknown, used,
// expired and foreign tokens get the same answer. When serve is done a hijacked
// connection is closed here, because the library leaves it open on some of its errors.
func route[R any](s *Server, serve func(http.ResponseWriter, *http.Request, R)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stored, ok := s.tokens.take(r.PathValue("token"))
		req, mine := stored.(R)
		if !ok || !mine || !s.conns.enter() {
			http.NotFound(w, r)
			return
		}
		defer s.conns.handlers.Done()
		if c, ok := r.Context().Value(connKey{}).(*trackedConn); ok {
			defer func() {
				if c.hijacked.Load() {
					_ = c.Close()
				}
			}()
		}
		serve(w, r, req)
	}
}

func (s *Server) serveExec(w http.ResponseWriter, r *http.Request, req *runtimeapi.ExecRequest) {
	opts := &remotecommand.Options{Stdin: req.GetStdin(), Stdout: req.GetStdout(), Stderr: req.GetStderr(), TTY: req.GetTty()}
	run := session{s: s, opts: opts, id: req.GetContainerId(), cmd: req.GetCmd()}
	if wsstream.IsWebSocketRequest(r) {
		s.serveWebSocket(w, r, opts, run.exec)
		return
	}
	remotecommand.ServeExec(w, r, run, "", "", run.id, run.cmd, opts,
		s.o.IdleTimeout, s.o.CreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) serveAttach(w http.ResponseWriter, r *http.Request, req *runtimeapi.AttachRequest) {
	opts := &remotecommand.Options{Stdin: req.GetStdin(), Stdout: req.GetStdout(), Stderr: req.GetStderr(), TTY: req.GetTty()}
	run := session{s: s, opts: opts, id: req.GetContainerId()}
	if wsstream.IsWebSocketRequest(r) {
		s.serveWebSocket(w, r, opts, run.attach)
		return
	}
	remotecommand.ServeAttach(w, r, run, "", "", run.id, opts,
		s.o.IdleTimeout, s.o.CreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) servePortForward(w http.ResponseWriter, r *http.Request, req *runtimeapi.PortForwardRequest) {
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		var ok bool
		if w, r, ok = tunnel(w, r); !ok {
			return
		}
	}
	portforward.ServePortForward(w, r, forwarder{s.o.Pods, r.Context()}, req.GetPodSandboxId(), "",
		&portforward.V4Options{Ports: req.GetPort()},
		s.o.IdleTimeout, s.o.CreationTimeout, portforward.SupportedProtocols)
}
