package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// A session lasts about two seconds: rounds with a pause between them.
const (
	rounds     = 20
	roundPause = 100 * time.Millisecond
	// sessionMost ends sessions early on a slow machine: none may outlive the drain of
	// a listener that has changed.
	sessionMost = drainTime / 3
)

// caller makes gRPC calls over several connections.
type caller struct {
	conns []*grpc.ClientConn
	next  atomic.Int64
}

func newCaller(addr string) (*caller, error) {
	c := &caller{}
	for range 4 {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(grpcHost),
			grpc.WithNoProxy(), grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(8<<20), grpc.WaitForReady(true)))
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *caller) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *caller) pick() *grpc.ClientConn {
	return c.conns[int(c.next.Add(1))%len(c.conns)]
}

// unary calls once.
func (s *steady) unary() error {
	mark := s.mark()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-soak-mark", mark), patience)
	defer cancel()
	in, out := pattern(mark, smallBody), []byte(nil)
	var head, tail metadata.MD
	if err := s.calls.pick().Invoke(ctx, "/soak.Echo/Unary", &in, &out, grpc.Header(&head), grpc.Trailer(&tail)); err != nil {
		return err
	}
	return checkCall(in, out, head, tail, mark)
}

func checkCall(in, out []byte, head, tail metadata.MD, mark string) error {
	switch {
	case !bytes.Equal(in, out):
		return fmt.Errorf("a message of %d bytes came back with %d, or others", len(in), len(out))
	case first(head.Get("x-soak-mark")) != mark:
		return fmt.Errorf("the head of %v in the call %s", head.Get("x-soak-mark"), mark)
	case first(tail.Get("x-soak-mark")) != mark:
		return fmt.Errorf("the trailers of %v in the call %s", tail.Get("x-soak-mark"), mark)
	}
	return nil
}

// talk is a call with messages both ways.
func (s *steady) talk(stop <-chan struct{}) error {
	mark := s.mark()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-soak-mark", mark), patience)
	defer cancel()
	st, err := s.calls.pick().NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/soak.Echo/Talk")
	if err != nil {
		return err
	}
	var last []byte
	for i, start := 0, time.Now(); i < rounds && time.Since(start) < sessionMost; i++ {
		last = pattern(fmt.Sprintf("%s/%d", mark, i), 1+i*977)
		out := []byte(nil)
		if err := st.SendMsg(&last); err != nil && err != io.EOF { // the cause of EOF comes with RecvMsg
			return fmt.Errorf("message %d: sending: %w", i, err)
		}
		if err := st.RecvMsg(&out); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if !bytes.Equal(last, out) {
			return fmt.Errorf("message %d came back changed", i)
		}
		if pause(stop) {
			break
		}
	}
	if err := st.CloseSend(); err != nil {
		return err
	}
	if err := st.RecvMsg(new([]byte)); err != io.EOF {
		return fmt.Errorf("the end of the call: %v", err)
	}
	head, err := st.Header()
	if err != nil {
		return err
	}
	return checkCall(nil, nil, head, st.Trailer(), mark)
}

// pause waits between rounds; true when the soak ends.
func pause(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	case <-time.After(roundPause):
		return false
	}
}

// tunnel upgrades to WebSocket and sends bytes both ways.
func (s *steady) tunnel(host string) func(<-chan struct{}) error {
	return func(stop <-chan struct{}) error {
		k, err := dialHTTP(s.ports.http)
		if err != nil {
			return err
		}
		defer k.conn.Close()
		if err := k.conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		mark := s.mark()
		if _, err := fmt.Fprintf(k.conn, "GET /tunnel HTTP/1.1\r\nhost: %s\r\nconnection: Upgrade\r\nupgrade: websocket\r\nx-soak-mark: %s\r\n"+
			"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host, mark); err != nil {
			return err
		}
		resp, err := http.ReadResponse(k.in, nil)
		if err != nil {
			return fmt.Errorf("upgrade: %w", err)
		}
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Soak-Mark") != mark {
			return fmt.Errorf("upgrade: status %d, reason %q, mark %q", resp.StatusCode, resp.Header.Get("X-Lateen-Reason"), resp.Header.Get("X-Soak-Mark"))
		}
		return echoRounds(k.conn.(*net.TCPConn), k.in, mark, stop)
	}
}

// bytes sends bytes both ways over TCP.
func (s *steady) bytes(stop <-chan struct{}) error {
	return talkBytes(s.ports.tcp, s.mark(), stop)
}

func talkBytes(to netip.AddrPort, mark string, stop <-chan struct{}) error {
	c, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return echoRounds(c.(*net.TCPConn), bufio.NewReader(c), mark, stop)
}

// echoRounds sends, reads the echo, and in the end closes its direction, after
// which the other side says farewell.
func echoRounds(c *net.TCPConn, in *bufio.Reader, mark string, stop <-chan struct{}) error {
	for i, start := 0, time.Now(); i < rounds && time.Since(start) < sessionMost; i++ {
		out := pattern(fmt.Sprintf("%s/%d", mark, i), 1+i*1601)
		if _, err := c.Write(out); err != nil {
			return fmt.Errorf("round %d: sending: %w", i, err)
		}
		back := make([]byte, len(out))
		if n, err := io.ReadFull(in, back); err != nil {
			return fmt.Errorf("round %d: %d of %d bytes: %w", i, n, len(out), err)
		}
		if !bytes.Equal(out, back) {
			return fmt.Errorf("round %d came back changed", i)
		}
		if pause(stop) {
			break
		}
	}
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("half-close: %w", err)
	}
	rest, err := io.ReadAll(in)
	if err != nil || string(rest) != farewell {
		return fmt.Errorf("after the half-close came %.50q, %v", rest, err)
	}
	return nil
}
