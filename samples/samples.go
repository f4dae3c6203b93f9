// Package samples holds the sample applications that tutorials are told with:
// small programs behind `lateen sample NAME`, and the YAML that deploys them.
// They do what the documentation of Istio's samples says that these do; on
// Kubernetes the published images serve just as well.
package samples

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/samples/bookinfo"
	"github.com/lateen-mesh/lateen/samples/grpcecho"
	"github.com/lateen-mesh/lateen/samples/helloworld"
	"github.com/lateen-mesh/lateen/samples/httpbin"
	"github.com/lateen-mesh/lateen/samples/tcpecho"
)

//go:embed yaml
var yamlFiles embed.FS

// Files holds the samples' manifests: "bookinfo/bookinfo.yaml" and so on.
func Files() fs.FS {
	sub, err := fs.Sub(yamlFiles, "yaml")
	if err != nil {
		panic(err) // the embedded folder is there, or this would not have compiled
	}
	return sub
}

// Bookinfo returns the manifests that `lateen up` runs without -f: the
// application, its gateway and one route per service to version v1's subsets.
func Bookinfo() []byte {
	var b strings.Builder
	for _, name := range []string{"bookinfo/bookinfo.yaml", "bookinfo/bookinfo-gateway.yaml", "bookinfo/destination-rule-all.yaml"} {
		text, err := fs.ReadFile(Files(), name)
		if err != nil {
			panic(err) // as above
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return []byte(b.String())
}

// Env is what a program may read of its environment.
type Env func(key string) string

// program is one sample: it runs until ctx ends.
type program func(ctx context.Context, env Env, args []string, log *slog.Logger) error

var programs = map[string]program{
	"productpage": web("9080", func(env Env, log *slog.Logger) http.Handler { return bookinfo.Productpage(bookinfo.Env(env), log) }),
	"details":     web("9080", func(env Env, log *slog.Logger) http.Handler { return bookinfo.Details() }),
	"ratings":     web("9080", func(env Env, log *slog.Logger) http.Handler { return bookinfo.Ratings() }),
	"reviews-v1":  reviews("false", ""),
	"reviews-v2":  reviews("true", "black"),
	"reviews-v3":  reviews("true", "red"),
	"helloworld": web("5000", func(env Env, _ *slog.Logger) http.Handler {
		return helloworld.Handler(env("SERVICE_VERSION"), env("HOSTNAME"))
	}),
	"httpbin": web("8080", func(Env, *slog.Logger) http.Handler { return httpbin.Handler() }),
	"tcp-echo": func(ctx context.Context, _ Env, args []string, log *slog.Logger) error {
		return tcpecho.Run(ctx, args, log)
	},
	"grpc-echo": func(ctx context.Context, env Env, args []string, log *slog.Logger) error {
		return grpcecho.Serve(ctx, args, env("SERVICE_VERSION"), env("HOSTNAME"), log)
	},
	"grpc-client": func(ctx context.Context, _ Env, args []string, _ *slog.Logger) error {
		return grpcecho.Call(ctx, args, os.Stdout)
	},
	"curl": func(ctx context.Context, _ Env, _ []string, _ *slog.Logger) error { // a place to exec into
		<-ctx.Done()
		return nil
	},
}

// Names lists the sample programs.
func Names() []string { return slices.Sorted(maps.Keys(programs)) }

// Run runs a sample program until ctx ends. A program named with a version
// ("helloworld-v2") gets it as SERVICE_VERSION unless that is set.
func Run(ctx context.Context, name string, args []string, env Env, log *slog.Logger) error {
	p, ok := programs[name]
	if base, version, found := cutVersion(name); !ok && found {
		if p, ok = programs[base]; ok {
			env = withDefault(env, "SERVICE_VERSION", version)
		}
	}
	if !ok {
		return fmt.Errorf("no sample program %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return p(ctx, env, args, log)
}

// cutVersion splits "ratings-v1" into "ratings" and "v1".
func cutVersion(name string) (base, version string, ok bool) {
	i := strings.LastIndex(name, "-v")
	if i < 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

func withDefault(env Env, key, value string) Env {
	return func(k string) string {
		if v := env(k); v != "" || k != key {
			return v
		}
		return value
	}
}

func reviews(enabled, color string) program {
	serve := web("9080", func(env Env, log *slog.Logger) http.Handler { return bookinfo.Reviews(bookinfo.Env(env), log) })
	return func(ctx context.Context, env Env, args []string, log *slog.Logger) error {
		return serve(ctx, withDefault(withDefault(env, "ENABLE_RATINGS", enabled), "STAR_COLOR", color), args, log)
	}
}

// web makes a program of a handler. The port is the first argument, else PORT,
// else the default, as the original programs have it.
func web(standard string, handler func(Env, *slog.Logger) http.Handler) program {
	return func(ctx context.Context, env Env, args []string, log *slog.Logger) error {
		port := standard
		switch {
		case len(args) > 0:
			port = args[0]
		case env("PORT") != "":
			port = env("PORT")
		}
		l, err := net.Listen("tcp", net.JoinHostPort("", port))
		if err != nil {
			return err
		}
		log.Info("serving", "address", l.Addr().String())
		return serveHTTP(ctx, l, handler(env, log))
	}
}

// serveHTTP serves until ctx ends, then lets requests under way finish.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return err
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
