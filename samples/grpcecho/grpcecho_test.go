package grpcecho

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// serve runs the server on a free port and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, []string{port}, "v7", "pod-1", slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the server does not serve")
	return ""
}

// TestEcho has the client call each method of the server.
func TestEcho(t *testing.T) {
	addr := serve(t)
	for _, c := range []struct {
		name string
		args []string
		want []string // each line: code, or version, count and message of an answer
	}{
		{"unary", []string{"-n", "2", "-H", "x-a=b"}, []string{"OK v7 1 hello", "OK v7 1 hello"}},
		{"server stream", []string{"-method", "server-stream", "-n", "3", "-every", "1ms"}, []string{" v7 1 hello", " v7 2 hello", " v7 3 hello", "OK"}},
		{"client stream", []string{"-method", "client-stream", "-n", "3"}, []string{" v7 3 hello hello1 hello2", "OK"}},
		{"both", []string{"-method", "bidi", "-n", "2", "-every", "1ms"}, []string{" v7 1 hello", " v7 2 hello1", "OK"}},
		{"large", []string{"-size", "200000"}, []string{"OK v7 1 hello"}},
		{"at a time", []string{"-n", "2", "-parallel", "2"}, []string{"OK v7 1 hello", "OK v7 1 hello", "OK v7 1 hello", "OK v7 1 hello"}},
		{"health", []string{"-method", "health"}, []string{"OK SERVING"}},
		{"failure", []string{"-fail", "14", "-fail-at", "v7"}, []string{"Unavailable: v7 fails as asked"}},
		{"failure of a stream", []string{"-method", "bidi", "-n", "3", "-every", "1h", "-fail", "7"}, []string{"PermissionDenied: v7 fails as asked"}},
		{"failure of another version", []string{"-fail", "14", "-fail-at", "v1"}, []string{"OK v7 1 hello"}},
		{"deadline", []string{"-method", "server-stream", "-n", "2", "-every", "5s", "-timeout", "50ms"}, []string{" v7 1 hello", "DeadlineExceeded: "}},
		{"too many", []string{"-method", "server-stream", "-n", "20000"}, []string{"InvalidArgument: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Call(t.Context(), append([]string{addr}, c.args...), &out); err != nil {
				t.Fatal(err)
			}
			got := summary(t, out.String())
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if out.Len() > 10_000 {
				t.Errorf("%d bytes are printed", out.Len())
			}
			if c.name == "unary" && (strings.Count(out.String(), `"x-a":"b"`) != 2 || strings.Count(out.String(), `"trailer":{"x-echo":"end"}`) != 2) {
				t.Errorf("metadata is missing: %s", &out)
			}
		})
	}
}

func summary(t *testing.T, text string) (list []string) {
	t.Helper()
	for l := range strings.Lines(text) {
		var v struct {
			Code, Error string
			Reply       any
		}
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		s := v.Code
		if v.Error != "" {
			s += ": " + v.Error
		}
		switch r := v.Reply.(type) {
		case string:
			s += " " + r
		case map[string]any:
			s += fmt.Sprint(" ", r["version"], " ", r["n"], " ", r["message"])
		}
		list = append(list, s)
	}
	return list
}

func TestCallRefusesCommandLines(t *testing.T) {
	for _, args := range [][]string{nil, {"-n", "1"}, {"a:1", "-method", "x"}, {"a:1", "-H", "x"}, {"a:1", "-what"}} {
		if err := Call(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

// TestReflection: tools can list the service and read its description.
func TestReflection(t *testing.T) {
	conn, err := grpc.NewClient("passthrough:///"+serve(t), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
		resp, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	list := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if !strings.Contains(list.String(), Service) {
		t.Errorf("services: %v", list)
	}
	for _, symbol := range []string{Service, "grpc.health.v1.Health"} {
		file := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
		if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%s: %v", symbol, file)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
}
