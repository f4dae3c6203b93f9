package main

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// farewell is what a tunnel's server says after its client's end.
const farewell = "bye"

// origins are the well-behaved applications.
type origins struct {
	web  *http.Server
	grpc *grpc.Server
	tcp  net.Listener
}

// startOrigins serves HTTP/1.1 and HTTP/2 on p.app, gRPC on p.grpcApp and an echo of
// bytes on p.tcpApp.
func startOrigins(p *ports) (*origins, error) {
	o := &origins{}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", serveEcho)
	mux.HandleFunc("/tunnel", serveTunnel)
	o.web = &http.Server{Handler: mux, Protocols: &protocols, ErrorLog: log.New(io.Discard, "", 0)}
	web, err := listen(&p.app)
	if err != nil {
		return nil, err
	}
	calls, err := listen(&p.grpcApp)
	if err != nil {
		return nil, err
	}
	if o.tcp, err = listen(&p.tcpApp); err != nil {
		return nil, err
	}
	o.grpc = grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(serveCall))
	go func() { _ = o.web.Serve(web) }()    // these end with close
	go func() { _ = o.grpc.Serve(calls) }() //
	go acceptEach(o.tcp, echoBytes)
	return o, nil
}

func (o *origins) close() error {
	o.grpc.Stop()
	return errors.Join(o.web.Close(), o.tcp.Close())
}

func listen(at *netip.AddrPort) (net.Listener, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	*at = netip.MustParseAddrPort(l.Addr().String())
	return l, nil
}

// acceptEach serves each connection in a goroutine of its own until l closes.
func acceptEach(l net.Listener, serve func(*net.TCPConn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go serve(c.(*net.TCPConn))
	}
}

// serveEcho answers with the request's content, its mark and its trailers; the
// answer to chunked content is chunked.
func serveEcho(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client's side broke: so shall the answer
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Soak-Mark", r.Header.Get("X-Soak-Mark"))
	h.Set("X-Soak-Saw", r.Header.Get("X-Soak-Request"))
	if r.Method == http.MethodGet {
		content = pattern(r.Header.Get("X-Soak-Mark"), smallBody)
	}
	if len(r.Trailer) > 0 {
		h.Set("Trailer", "X-Soak-Trailer")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // from here on it is chunked; a lost client shows in Write
	}
	_, _ = w.Write(content) // the client may have gone
	if len(r.Trailer) > 0 {
		h.Set("X-Soak-Trailer", r.Trailer.Get("X-Soak-Trailer"))
	}
}

// serveTunnel takes the upgrade and echoes bytes.
func serveTunnel(w http.ResponseWriter, r *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nx-soak-mark: "+r.Header.Get("X-Soak-Mark")+"\r\n\r\n"); err != nil {
		return
	}
	if _, err := io.Copy(c, rw.Reader); err == nil {
		_, _ = io.WriteString(c, farewell)
	}
}

// echoBytes echoes until the client's end, and then says so.
func echoBytes(c *net.TCPConn) {
	defer c.Close()
	if _, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); err == nil {
		_, _ = io.WriteString(c, farewell)
	}
}

// serveCall echoes the messages of any method, with the caller's mark in head and
// trailers.
func serveCall(_ any, st grpc.ServerStream) error {
	in, _ := metadata.FromIncomingContext(st.Context())
	mark := metadata.Pairs("x-soak-mark", first(in.Get("x-soak-mark")))
	if err := st.SetHeader(mark); err != nil {
		return err
	}
	st.SetTrailer(mark)
	for {
		var msg []byte
		if err := st.RecvMsg(&msg); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := st.SendMsg(&msg); err != nil {
			return err
		}
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
