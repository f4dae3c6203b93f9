// Package command runs the control plane as a process of its own: `lateen
// control-plane`.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Options are the flags of the process.
type Options struct {
	// StateDir holds the store and the certificate authority, RuntimeDir the
	// sockets.
	StateDir, RuntimeDir string
	// Config lists directories and files to follow, besides what is applied.
	Config      []string
	TrustDomain string
	ServiceCIDR netip.Prefix
	Lifetime    time.Duration // of workloads' certificates
	PlainAddr   string
	DebugAddr   string
	Version     string
}

// StoreDir is where a mesh's objects lie in its state directory.
func StoreDir(stateDir string) string { return filepath.Join(stateDir, "config") }

// New returns the command. It logs to errors, and ends when its context ends.
func New(errors io.Writer, version string) *cobra.Command {
	o := Options{Version: version}
	var level, form string
	cmd := &cobra.Command{
		Use:   "control-plane",
		Short: "Run the control plane as a process of its own",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			levels := ops.NewLevels(slog.LevelInfo)
			if err := levels.Apply(level); err != nil {
				return err
			}
			return Run(cmd.Context(), o, ops.NewLogger(errors, ops.ParseForm(form), levels))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.StateDir, "state-dir", "", "directory of the configuration and the certificate authority (required)")
	f.StringVar(&o.RuntimeDir, "runtime-dir", "", "directory of the sockets (required)")
	f.StringSliceVar(&o.Config, "config", nil, "directories and files of configuration to follow")
	f.StringVar(&o.TrustDomain, "trust-domain", "", "trust domain of the mesh (default cluster.local)")
	f.TextVar(&o.ServiceCIDR, "service-cidr", netip.MustParsePrefix("10.96.0.0/16"), "range of the services' virtual addresses")
	f.DurationVar(&o.Lifetime, "certificate-lifetime", 24*time.Hour, "lifetime of workloads' certificates")
	f.StringVar(&o.PlainAddr, "plain-address", "", "loopback address for xDS without authentication, usually 127.0.0.1:15010")
	f.StringVar(&o.DebugAddr, "debug-address", "", "loopback address for /metrics and /debug, usually 127.0.0.1:15014")
	f.StringVar(&level, "log-level", "", "level, or level,scope:level,…")
	f.StringVar(&form, "log-format", "", "text or json")
	for _, name := range []string{"state-dir", "runtime-dir"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			cmd.RunE = func(*cobra.Command, []string) error { return err }
		}
	}
	return cmd
}

// Run opens the store and runs the control plane until ctx ends.
func Run(ctx context.Context, o Options, log *slog.Logger) (err error) {
	s, err := store.Open(StoreDir(o.StateDir), store.Options{Validate: validate.Error, Log: ops.Scope(log, "store")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	cp, err := controlplane.New(controlplane.Config{
		Store: s, StateDir: o.StateDir, RuntimeDir: o.RuntimeDir, TrustDomain: o.TrustDomain, ServiceCIDR: o.ServiceCIDR,
		CertificateLifetime: o.Lifetime, PlainAddr: o.PlainAddr, DebugAddr: o.DebugAddr, Version: o.Version, Log: log,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watched []*store.Directory
	defer func() {
		cancel()
		for _, d := range watched {
			<-d.Done()
		}
	}()
	for _, path := range o.Config {
		d, err := s.WatchDirectory(ctx, path)
		if err != nil {
			return errors.Join(fmt.Errorf("configuration: %w", err), cp.Close())
		}
		watched = append(watched, d)
	}
	log.Info("control plane serves", "state", o.StateDir, "sockets", o.RuntimeDir)
	return cp.Run(ctx)
}
