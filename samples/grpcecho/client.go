package grpcecho

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// line is what the client prints: a message of an answer, or how a call ended.
type line struct {
	Reply   any               `json:"reply,omitempty"`
	Code    string            `json:"code,omitempty"`
	Error   string            `json:"error,omitempty"`
	Header  map[string]string `json:"header,omitempty"`
	Trailer map[string]string `json:"trailer,omitempty"`
}

// client is one run of the sample client.
type client struct {
	conn     *grpc.ClientConn
	method   string
	message  string
	size     int
	n        int
	parallel int
	every    time.Duration
	fail     int
	failAt   string
	timeout  time.Duration
	headers  metadata.MD

	mu  sync.Mutex
	out *json.Encoder // guarded by mu
}

func (c *client) print(l line) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Encode(l)
}

// Call is the client: ADDRESS and flags in, lines of JSON out. All calls go over
// one connection. A call that fails is an answer like any other; what is returned
// is an error of the command line or of the output.
func Call(ctx context.Context, args []string, out io.Writer) error {
	c := &client{out: json.NewEncoder(out), headers: metadata.MD{}}
	c.out.SetEscapeHTML(false)
	flags := flag.NewFlagSet("grpc-client ADDRESS", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&c.method, "method", "unary", "unary, server-stream, client-stream, bidi or health")
	flags.StringVar(&c.message, "message", "hello", "what to send")
	flags.IntVar(&c.size, "size", 0, "bytes to send with each message, and not to print")
	flags.IntVar(&c.n, "n", 1, "how many calls, or messages of a stream")
	flags.IntVar(&c.parallel, "parallel", 1, "how many do the same at a time")
	flags.DurationVar(&c.every, "every", 0, "pause between calls or messages")
	flags.IntVar(&c.fail, "fail", 0, "gRPC status that the server is asked to fail with")
	flags.StringVar(&c.failAt, "fail-at", "", "version of the server that is asked to fail")
	flags.DurationVar(&c.timeout, "timeout", 10*time.Second, "deadline of a call; 0 for none")
	authority := flags.String("authority", "", "authority of the calls, in place of the address")
	flags.Func("H", "metadata NAME=VALUE; may be repeated", func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want NAME=VALUE")
		}
		c.headers.Append(k, v)
		return nil
	})
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return errors.New("grpc-client wants an ADDRESS (grpc-echo:7070), then flags")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry()}
	if *authority != "" {
		options = append(options, grpc.WithAuthority(*authority))
	}
	conn, err := grpc.NewClient("passthrough:///"+args[0], options...)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.conn = conn
	failed := make([]error, max(c.parallel, 1))
	var wg sync.WaitGroup
	for i := range failed {
		wg.Go(func() { failed[i] = c.run(ctx) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

func (c *client) run(ctx context.Context) error {
	calls, call := c.n, c.unary
	switch c.method {
	case "unary":
	case "health":
		call = c.health
	case "server-stream":
		calls, call = 1, c.stream(serverStream, false, true)
	case "client-stream":
		calls, call = 1, c.stream(clientStream, true, false)
	case "bidi":
		calls, call = 1, c.stream(bidi, true, true)
	default:
		return fmt.Errorf("no method %q; there are unary, server-stream, client-stream, bidi and health", c.method)
	}
	for i := range calls {
		if i > 0 {
			if err := c.pause(ctx); err != nil {
				return err
			}
		}
		one, cancel := metadata.NewOutgoingContext(ctx, c.headers), context.CancelFunc(func() {})
		if c.timeout > 0 {
			one, cancel = context.WithTimeout(one, c.timeout)
		}
		err := call(one)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *client) pause(ctx context.Context) error {
	select {
	case <-time.After(c.every):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *client) request(i int) (*structpb.Struct, error) {
	message := c.message
	if i > 0 {
		message = fmt.Sprint(c.message, i)
	}
	return structpb.NewStruct(map[string]any{
		"message": message, "count": c.n, "everyMs": c.every.Milliseconds(), "fail": c.fail, "failAt": c.failAt,
		"padding": strings.Repeat("x", c.size),
	})
}

// check gives an answer for print: the padding must be whole, and is left out.
func (c *client) check(in *structpb.Struct) (any, error) {
	out := in.AsMap()
	if p, _ := out["padding"].(string); len(p) != c.size && c.size > 0 {
		return nil, fmt.Errorf("%d bytes of padding came back, %d were sent", len(p), c.size)
	}
	delete(out, "padding")
	return out, nil
}

func (c *client) unary(ctx context.Context) error {
	in, err := c.request(0)
	if err != nil {
		return err
	}
	out, header, trailer := &structpb.Struct{}, metadata.MD{}, metadata.MD{}
	err = c.conn.Invoke(ctx, path(unary), in, out, grpc.Header(&header), grpc.Trailer(&trailer))
	l := ended(err, header, trailer)
	if err == nil {
		if l.Reply, err = c.check(out); err != nil {
			return err
		}
	}
	return c.print(l)
}

func (c *client) health(ctx context.Context) error {
	header, trailer := metadata.MD{}, metadata.MD{}
	out, err := healthpb.NewHealthClient(c.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: Service}, grpc.Header(&header), grpc.Trailer(&trailer))
	l := ended(err, header, trailer)
	if err == nil {
		l.Reply = out.GetStatus().String()
	}
	return c.print(l)
}

// stream makes a call of a streaming method: one message or n are sent, "every"
// apart, while answers are printed as they come.
func (c *client) stream(method string, many, answers bool) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: many, ServerStreams: answers}, path(method))
		if err != nil {
			return c.print(ended(err, nil, nil))
		}
		sent := make(chan error, 1)
		go func() { sent <- c.sendAll(ctx, s, many) }()
		for {
			out := &structpb.Struct{}
			if err = s.RecvMsg(out); err != nil {
				break
			}
			reply, err := c.check(out)
			if err == nil {
				err = c.print(line{Reply: reply})
			}
			if err != nil {
				cancel()
				<-sent
				return err
			}
		}
		cancel()
		if failed := <-sent; errors.Is(err, io.EOF) && failed != nil && !errors.Is(failed, context.Canceled) {
			return failed
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		header, _ := s.Header() // its error is that of the call
		return c.print(ended(err, header, s.Trailer()))
	}
}

func (c *client) sendAll(ctx context.Context, s grpc.ClientStream, many bool) error {
	for i := range c.n {
		in, err := c.request(i)
		if err != nil {
			return err
		}
		if i > 0 {
			if err := c.pause(ctx); err != nil {
				return err
			}
		}
		if err := s.SendMsg(in); errors.Is(err, io.EOF) {
			return nil // the call has ended; its status says why
		} else if err != nil {
			return err
		}
		if !many {
			break
		}
	}
	return s.CloseSend()
}

// ended tells how a call ended.
func ended(err error, header, trailer metadata.MD) line {
	l := line{Code: codes.OK.String(), Header: flat(header), Trailer: flat(trailer)}
	if err != nil {
		s := status.Convert(err)
		l.Code, l.Error = s.Code().String(), s.Message()
	}
	return l
}

func flat(md metadata.MD) map[string]string {
	out := map[string]string{}
	for k, vs := range md {
		out[k] = strings.Join(vs, ", ")
	}
	return out
}
