package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type text = wrapperspb.StringValue

// kinds are the four kinds of calls of the test's service, in one form: a client
// sends some messages and gets some.
var kinds = []grpc.StreamDesc{
	{StreamName: "Unary"}, {StreamName: "Upload", ClientStreams: true}, {StreamName: "Download", ServerStreams: true},
	{StreamName: "Chat", ClientStreams: true, ServerStreams: true},
}

// calls is an endpoint that speaks gRPC; answer serves every stream.
func calls(t *testing.T, answer func(method string, s grpc.ServerStream) error) netip.AddrPort {
	t.Helper()
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		name, _ := grpc.MethodFromServerStream(s)
		return answer(strings.TrimPrefix(name, "/test.Calls/"), s)
	}))
	l := loopback(t)
	go func() { _ = s.Serve(l) }() // ends with Stop
	t.Cleanup(s.Stop)
	return netip.MustParseAddrPort(l.Addr().String())
}

// chatter answers every message at once, or for calls with one answer the number of
// messages.
func chatter(method string, s grpc.ServerStream) error {
	for n := 0; ; n++ {
		var in text
		err := s.RecvMsg(&in)
		switch {
		case errors.Is(err, io.EOF) && method == "Upload":
			return s.SendMsg(&text{Value: fmt.Sprint(n)})
		case errors.Is(err, io.EOF):
			s.SetTrailer(metadata.Pairs("x-end", method))
			return nil
		case err != nil:
			return err
		case in.Value == "fail":
			return status.Error(codes.FailedPrecondition, "100% wrong\n")
		case method == "Upload":
			continue
		}
		times := 1
		if method == "Download" {
			times = 3
		}
		for range times {
			if err := s.SendMsg(&text{Value: "got " + in.Value}); err != nil {
				return err
			}
		}
	}
}

// dialGRPC makes a client of a hop.
func (h *hop) dialGRPC(t *testing.T) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(h.base, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// converse makes a call: all messages, then all answers.
func converse(ctx context.Context, c *grpc.ClientConn, kind *grpc.StreamDesc, send ...string) (got []string, trailer metadata.MD, err error) {
	s, err := c.NewStream(ctx, kind, "/test.Calls/"+kind.StreamName)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range send {
		if err := s.SendMsg(&text{Value: m}); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, err
		}
		if !kind.ServerStreams || !kind.ClientStreams {
			continue
		}
		var out text // a chat goes to and fro
		if err := s.RecvMsg(&out); err != nil {
			return got, s.Trailer(), err
		}
		got = append(got, out.Value)
	}
	if err := s.CloseSend(); err != nil {
		return got, nil, err
	}
	for {
		var out text
		err := s.RecvMsg(&out)
		if errors.Is(err, io.EOF) {
			return got, s.Trailer(), nil
		}
		if err != nil {
			return got, s.Trailer(), err
		}
		got = append(got, out.Value)
		if !kind.ServerStreams {
			return got, s.Trailer(), nil
		}
	}
}

func TestGRPC(t *testing.T) {
	h := newHop(t, combination{"h2", "h2"}, calls(t, chatter), "")
	c := h.dialGRPC(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	big := strings.Repeat("x", 1<<20)
	for i, want := range []string{"[got a]", "[3]", "[got a got a got a]", "[got a got b got c]"} {
		kind := &kinds[i]
		send := []string{"a", "b", "c"}
		if !kind.ClientStreams {
			send = send[:1]
		}
		t.Run(kind.StreamName, func(t *testing.T) {
			got, trailer, err := converse(ctx, c, kind, send...)
			if err != nil || fmt.Sprint(got) != want {
				t.Errorf("%v, %v", got, err)
			}
			if v := trailer.Get("x-end"); kind.ServerStreams && (len(v) != 1 || v[0] != kind.StreamName) {
				t.Errorf("trailer %v", trailer)
			}
		})
		t.Run(kind.StreamName+" fails", func(t *testing.T) {
			_, _, err := converse(ctx, c, kind, "fail")
			if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "100% wrong\n" {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("large messages", func(t *testing.T) {
		got, _, err := converse(ctx, c, &kinds[3], big, big, big)
		if err != nil || len(got) != 3 || got[2] != "got "+big {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		s, err := c.NewStream(ctx, &kinds[3], "/test.Calls/Chat")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := s.RecvMsg(&text{}); status.Code(err) != codes.Canceled {
			t.Errorf("%v", err)
		}
	})
}

// TestGRPCLocalReplies: what the proxy answers itself, gRPC clients get as a status.
func TestGRPCLocalReplies(t *testing.T) {
	h := newHop(t, combination{"h2", "h2"}, calls(t, chatter), "")
	c := h.dialGRPC(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	dead := netip.MustParseAddrPort(func() string { l := loopback(t); defer l.Close(); return l.Addr().String() }())
	h.set("c", cluster("c", "h2", dead))
	eventually(t, func() string {
		_, _, err := converse(ctx, c, &kinds[0], "a")
		if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.HasPrefix(s.Message(), "upstream connect error") {
			return fmt.Sprint(err)
		}
		return ""
	})
	eventually(t, func() string {
		if text := h.log.String(); !strings.Contains(text, ` HTTP/2" 200 UF `) {
			return text
		}
		return ""
	})
	h.set("9080", strings.Replace(hopTable(""), `{"prefix":"/"}`, `{"prefix":"/other"}`, 1))
	eventually(t, func() string {
		if _, _, err := converse(ctx, c, &kinds[0], "a"); status.Code(err) != codes.Unimplemented {
			return fmt.Sprint(err)
		}
		return ""
	})
}

// TestGRPCTimeout: grpc-timeout ends the call at the proxy too, where the route lets
// it, and the endpoint is told.
func TestGRPCTimeout(t *testing.T) {
	ended := make(chan struct{}, 1)
	addr := calls(t, func(_ string, s grpc.ServerStream) error {
		<-s.Context().Done()
		ended <- struct{}{}
		return s.Context().Err()
	})
	const duration, reached = codes.DeadlineExceeded, "upstream max stream duration reached"
	for name, c := range map[string]struct {
		action string
		code   codes.Code
		text   string
	}{
		"maximum duration": {`,"max_stream_duration":{"max_stream_duration":"0s","grpc_timeout_header_max":"0s","grpc_timeout_header_offset":"7.95s"}`, duration, reached},
		"capped":           {`,"max_stream_duration":{"max_stream_duration":"9s","grpc_timeout_header_max":"0.05s"}`, duration, reached},
		"route's":          {`,"max_grpc_timeout":"0s","grpc_timeout_offset":"7.95s"`, codes.Unavailable, "upstream request timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			addr, told := addr, true
			if c.code == codes.Unavailable {
				// The endpoint would have that time-out too, and might be first.
				addr, told = script(t, func(*http2.Framer, uint32, int) {}), false
			}
			h := newHop(t, combination{"h2", "h2"}, addr, c.action)
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			begun := time.Now()
			_, _, err := converse(ctx, h.dialGRPC(t), &kinds[0], "a")
			if s := status.Convert(err); s.Code() != c.code || s.Message() != c.text || time.Since(begun) > 4*time.Second {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
			if told {
				within(t, ended, "the endpoint was not told")
			}
		})
	}
}

// TestGRPCRetry: a call that was answered by a status alone is made again where the
// policy names that status, and no other.
func TestGRPCRetry(t *testing.T) {
	var tries atomic.Int32
	addr := calls(t, func(method string, s grpc.ServerStream) error {
		switch n := tries.Add(1); {
		case n == 1:
			return status.Error(codes.Unavailable, "later")
		case n == 2 && method == "Upload":
			return status.Error(codes.Internal, "never")
		}
		return chatter(method, s)
	})
	h := newHop(t, combination{"h2", "h2"}, addr, `,"retry_policy":{"retry_on":"unavailable","num_retries":3}`)
	c := h.dialGRPC(t)
	if got, _, err := converse(t.Context(), c, &kinds[0], "a"); err != nil || fmt.Sprint(got) != "[got a]" || tries.Load() != 2 {
		t.Errorf("%v, %v after %d tries", got, err, tries.Load())
	}
	tries.Store(0)
	if _, _, err := converse(t.Context(), c, &kinds[1], "a"); status.Code(err) != codes.Internal || tries.Load() != 2 {
		t.Errorf("%v after %d tries", err, tries.Load())
	}
}
