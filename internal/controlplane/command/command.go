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
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/controlplane/cluster"
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
	// Name of the mesh; ReadOnlyConsole refuses changes through the console.
	Name            string
	ReadOnlyConsole bool
}

// StoreDir is where a mesh's objects lie in its state directory.
func StoreDir(stateDir string) string { return filepath.Join(stateDir, "config") }

// New returns the command. It logs to errors, and ends when its context ends.
func New(errors io.Writer, version string) *cobra.Command {
	o := Options{Version: version}
	k := cluster.Options{Version: version}
	var level, form string
	var kubernetes bool
	cmd := &cobra.Command{
		Use:   "control-plane",
		Short: "Run the control plane as a process of its own",
		Long: `Run the control plane as a process of its own.

With --kubernetes it is one replica of the control plane of a cluster, as the
installed Deployment runs it; the other flags and the environment say the rest.
Without, it serves a mesh on this machine from --state-dir.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			levels := ops.NewLevels(slog.LevelInfo)
			if err := levels.Apply(level); err != nil {
				return err
			}
			log := ops.NewLogger(errors, ops.ParseForm(form), levels)
			if err := check(cmd.Flags(), kubernetes); err != nil {
				return err
			}
			if !kubernetes {
				return Run(cmd.Context(), o, log)
			}
			if err := fromEnvironment(&k, cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			k.Log = log
			return cluster.Run(cmd.Context(), k)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&kubernetes, "kubernetes", false, "be a replica of the control plane of a Kubernetes cluster")
	f.StringVar(&level, "log-level", "", "level, or level,scope:level,…")
	f.StringVar(&form, "log-format", "", "text or json")
	sharedFlags(f, &o, &k)
	machineFlags(f, &o)
	clusterFlags(f, &k)
	return cmd
}

// sharedFlags are those of both homes.
func sharedFlags(f *pflag.FlagSet, o *Options, k *cluster.Options) {
	both := func(a, b *string, name, usage string) {
		f.Func(name, usage, func(v string) error { *a, *b = v, v; return nil })
	}
	both(&o.TrustDomain, &k.TrustDomain, "trust-domain", "trust domain of the mesh (default: that of the mesh configuration, or cluster.local)")
	both(&o.PlainAddr, &k.PlainAddr, "plain-address", "address for xDS without authentication and without secrets; on a machine a loopback address, usually 127.0.0.1:15010")
	both(&o.DebugAddr, &k.DebugAddr, "debug-address", "address for /metrics and /debug; on a machine a loopback address, usually 127.0.0.1:15014 (default on Kubernetes :15014)")
	f.Func("certificate-lifetime", "lifetime of workloads' certificates (default 24h)", func(v string) (err error) {
		o.Lifetime, err = time.ParseDuration(v)
		k.CertificateLifetime = o.Lifetime
		return err
	})
}

// machineFlags are those of a mesh on one machine.
func machineFlags(f *pflag.FlagSet, o *Options) {
	f.StringVar(&o.StateDir, "state-dir", "", "directory of the configuration and the certificate authority (required without --kubernetes)")
	f.StringVar(&o.RuntimeDir, "runtime-dir", "", "directory of the sockets (required without --kubernetes)")
	f.StringSliceVar(&o.Config, "config", nil, "directories and files of configuration to follow")
	f.StringVar(&o.Name, "mesh-name", "", "name of the mesh, for people")
	f.BoolVar(&o.ReadOnlyConsole, "read-only-console", false, "refuse changes through the console")
	f.TextVar(&o.ServiceCIDR, "service-cidr", netip.MustParsePrefix("10.96.0.0/16"), "range of the services' virtual addresses")
}

// check refuses flags of the one home in the other.
func check(f *pflag.FlagSet, kubernetes bool) error {
	foreign := &pflag.FlagSet{}
	if kubernetes {
		machineFlags(foreign, &Options{})
	} else {
		clusterFlags(foreign, &cluster.Options{})
		for _, name := range []string{"state-dir", "runtime-dir"} {
			if f.Lookup(name).Value.String() == "" {
				return fmt.Errorf("--%s is required (or --kubernetes)", name)
			}
		}
	}
	var err error
	foreign.VisitAll(func(x *pflag.Flag) {
		if f.Changed(x.Name) && err == nil {
			err = fmt.Errorf("--%s is not for this home of the control plane", x.Name)
		}
	})
	return err
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
		Name: o.Name, ReadOnlyConsole: o.ReadOnlyConsole,
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
