// Package command is `lateen-proxy agent`: a stock Envoy as a workload's proxy.
package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// Name and Summary are for the table of commands.
const (
	Name    = "agent"
	Summary = "run a stock Envoy as the proxy: identity, configuration, start and drain"
)

// Bootstrap is all that an agent must be told to start, in JSON; the fields that
// `lateen-proxy run` has too have the same names.
type Bootstrap struct {
	Envoy       string          `json:"envoy"`
	XDS         string          `json:"xds"`
	TokenFile   string          `json:"tokenFile"` // read anew for every stream
	Node        json.RawMessage `json:"node"`      // an envoy.config.core.v3.Node in proto JSON
	TrustDomain string          `json:"trustDomain,omitempty"`
	RuntimeDir  string          `json:"runtimeDir"`
	Admin       string          `json:"admin,omitempty"`
	Metrics     string          `json:"metrics,omitempty"`
	Status      string          `json:"status,omitempty"`
	AppMetrics  string          `json:"appMetrics,omitempty"`
	LogLevel    string          `json:"logLevel,omitempty"`
	LogFormat   string          `json:"logFormat,omitempty"`
	// EnvoyLogLevel is Envoy's own.
	EnvoyLogLevel string `json:"envoyLogLevel,omitempty"`
	DrainSeconds  int    `json:"drainSeconds,omitempty"`
	Concurrency   int    `json:"concurrency,omitempty"`

	// pod takes all else from the pod that the process is a container of.
	pod bool
}

// Run parses the arguments and runs the agent until ctx ends. Envoy's output and
// the access log go to out, the agent's log to errs.
func Run(ctx context.Context, out, errs io.Writer, args []string) error {
	b, err := parse(errs, args)
	if err != nil {
		return err
	}
	levels := ops.NewLevels(slog.LevelInfo)
	if err := levels.Apply(b.LogLevel); err != nil {
		return err
	}
	log := ops.NewLogger(errs, ops.ParseForm(b.LogFormat), levels)
	if b.pod {
		return runPod(ctx, out, errs, b, log)
	}
	o, err := b.options()
	if err != nil {
		return err
	}
	o.Stdout, o.Stderr, o.Log = out, errs, log
	return agent.Run(ctx, o)
}

// parse reads the file that --config names; other flags replace its fields.
func parse(errs io.Writer, args []string) (*Bootstrap, error) {
	var b, given Bootstrap
	fs := flag.NewFlagSet(Name, flag.ContinueOnError)
	fs.SetOutput(errs)
	path := fs.String("config", "", "bootstrap file in JSON (required without --pod)")
	pod := fs.Bool("pod", false, "take everything from the environment and the volumes of the pod that this is a container of")
	fs.StringVar(&given.Envoy, "envoy", "", "path of the Envoy")
	fs.StringVar(&given.XDS, "xds", "", "control plane: unix:///path or host:port")
	fs.StringVar(&given.TokenFile, "token-file", "", "file with the bearer token")
	fs.StringVar(&given.RuntimeDir, "runtime-dir", "", "directory of the agent's own, for sockets")
	fs.StringVar(&given.LogLevel, "log-level", "", "level, or level,scope:level,…")
	fs.StringVar(&given.LogFormat, "log-format", "", "text or json")
	fs.StringVar(&given.EnvoyLogLevel, "envoy-log-level", "", "Envoy's log level")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *pod {
		if *path != "" {
			return nil, errors.New("--pod and --config exclude each other")
		}
		given.pod = true
		return &given, nil
	}
	if *path == "" {
		return nil, errors.New("no bootstrap file: give --config")
	}
	text, err := os.ReadFile(*path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return nil, fmt.Errorf("%s: %w", *path, err)
	}
	for _, f := range []struct {
		to   *string
		flag string
	}{
		{&b.Envoy, given.Envoy}, {&b.XDS, given.XDS}, {&b.TokenFile, given.TokenFile}, {&b.RuntimeDir, given.RuntimeDir},
		{&b.LogLevel, given.LogLevel}, {&b.LogFormat, given.LogFormat}, {&b.EnvoyLogLevel, given.EnvoyLogLevel},
	} {
		if f.flag != "" {
			*f.to = f.flag
		}
	}
	if b.TokenFile == "" {
		return nil, errors.New("no token: give --token-file, or tokenFile in the bootstrap file")
	}
	return &b, nil
}

func (b *Bootstrap) options() (agent.Options, error) {
	node := &corev3.Node{}
	if err := protojson.Unmarshal(b.Node, node); err != nil {
		return agent.Options{}, fmt.Errorf("bootstrap: node: %w", err)
	}
	return agent.Options{
		EnvoyPath: b.Envoy, XDS: b.XDS, Node: node, TrustDomain: b.TrustDomain, RuntimeDir: b.RuntimeDir,
		Admin: b.Admin, Metrics: b.Metrics, Status: b.Status, AppMetrics: b.AppMetrics,
		EnvoyLogLevel: b.EnvoyLogLevel, Concurrency: b.Concurrency, Drain: time.Duration(b.DrainSeconds) * time.Second,
		Token: func() (string, error) {
			text, err := os.ReadFile(b.TokenFile)
			return strings.TrimSpace(string(text)), err
		},
	}, nil
}
