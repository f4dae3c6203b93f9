package command

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/agent/pod"
	"github.com/lateen-mesh/lateen/internal/agent/sidecar"
	"github.com/lateen-mesh/lateen/internal/ops/process"
)

// Variables beside those that package pod reads.
const (
	rootVariable  = "LATEEN_POD_ROOT"        // directory that the pod's files are below
	levelVariable = "LATEEN_ENVOY_LOG_LEVEL" // Envoy's log level
)

// runPod runs an Envoy as the container of a pod.
func runPod(ctx context.Context, out, errs io.Writer, b *Bootstrap, log *slog.Logger) error {
	if b.Envoy == "" {
		return errors.New("no Envoy: give --envoy")
	}
	set, err := pod.Read(os.Getenv, cmp.Or(os.Getenv(rootVariable), "/"))
	if err != nil {
		return err
	}
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	side, err := sidecar.New(sidecar.Options{Settings: set, Environ: os.Environ(), Plane: pod.Envoy, Log: log, Quit: quit})
	if err != nil {
		return err
	}
	defer func() { _ = side.Close() }() // the process ends
	// Envoy has no setting that means all cores.
	workers := process.Usable()
	if c := set.Concurrency; c != nil && *c > 0 {
		workers = *c
	}
	return agent.Run(ctx, agent.Options{
		Pod: side, EnvoyPath: b.Envoy, RuntimeDir: cmp.Or(b.RuntimeDir, set.MemoryDir), Admin: set.Admin, Concurrency: workers,
		Stdout: out, Stderr: errs, Log: log, EnvoyLogLevel: cmp.Or(b.EnvoyLogLevel, os.Getenv(levelVariable)),
	})
}
