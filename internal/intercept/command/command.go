// Package command is `lateen-proxy intercept`, the init container of an injected
// pod: it makes the pod's traffic pass its proxy. It needs the capability
// NET_ADMIN and no external program.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// Name and Summary are for the table of commands.
const (
	Name    = "intercept"
	Summary = "redirect a pod's traffic to its proxy (the flags of istio-iptables)"
)

// validationCode is the exit code of a failed check; Istio's repair controllers
// know the pods that need repair by it.
const validationCode = 126

// probePause is the time between two tries of the check.
const probePause = 200 * time.Millisecond

// codeError is an error with an exit code of its own.
type codeError struct {
	error
	code int
}

// ExitCode is the exit code of the process.
func (e codeError) ExitCode() int { return e.code }

// Unwrap gives the error itself.
func (e codeError) Unwrap() error { return e.error }

// Run does what the arguments and the environment ask for. Wrong input is an
// error before anything is installed. The log goes to errs, the rules of a dry run
// to out.
func Run(ctx context.Context, out, errs io.Writer, getenv func(string) string, args []string) error {
	r, err := parse(errs, getenv, args)
	if err != nil {
		return err
	}
	log := ops.NewLogger(errs, ops.ParseForm(getenv("LOG_FORMAT")), ops.NewLevels(slog.LevelInfo))
	for _, note := range r.noted {
		log.Info(note)
	}
	o, err := r.settings.Parse()
	if err != nil {
		return err
	}
	if o.CaptureDNS && !r.captureAllDNS {
		if o.Resolvers, err = intercept.ReadResolvers("/etc/resolv.conf"); err != nil {
			return err
		}
		if len(o.Resolvers) == 0 {
			log.Warn("names are not redirected: /etc/resolv.conf names no server")
			o.CaptureDNS = false
		}
	}
	if r.dryRun {
		return printRules(out, o)
	}
	if err := r.act(o, log); err != nil {
		return err
	}
	if !r.validate || r.cleanupOnly {
		return nil
	}
	if err := r.probe(ctx, o); err != nil {
		return codeError{fmt.Errorf("the pod is not ready for the mesh: %w; with the CNI plugin this happens when a pod starts on a node "+
			"before the plugin is there: its agent repairs or deletes the pod, if it is configured to", err), validationCode}
	}
	log.Info("redirection works")
	return nil
}

// probe checks until redirection works, for as long as the check may take: with the
// CNI plugin, the node's agent may be about to repair the pod.
func (r *request) probe(ctx context.Context, o intercept.PodOptions) error {
	ctx, cancel := context.WithTimeout(ctx, r.probeTimeout)
	defer cancel()
	for {
		err := intercept.Probe(ctx, o, uint16(r.probePort), r.probeTimeout)
		if err == nil || !errors.Is(err, intercept.ErrNotRedirected) {
			return err
		}
		select {
		case <-time.After(probePause):
		case <-ctx.Done():
			return err
		}
	}
}

func printRules(out io.Writer, o intercept.PodOptions) error {
	text := intercept.PodRules(o).String()
	if o.Mode == intercept.ModeTProxy {
		for _, family := range []string{"-4", "-6"} {
			text += fmt.Sprintf("# ip %s rule add fwmark %d lookup %d\n# ip %[1]s route add local default dev lo table %[3]d\n", family, o.Mark, o.RouteTable)
		}
	}
	_, err := io.WriteString(out, text)
	return err
}

// act installs or takes away, in the namespace that was asked for.
func (r *request) act(o intercept.PodOptions, log *slog.Logger) error {
	what, done := intercept.Install, "traffic is redirected"
	switch {
	case r.cleanupOnly:
		what, done = intercept.Uninstall, "redirection is taken away"
	case r.skipApply:
		return nil
	case o.Mode == intercept.ModeNone:
		done = "nothing is redirected in mode NONE"
	}
	if err := inNamespace(r.networkNamespace, func() error { return what(o) }); err != nil {
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w (the capability NET_ADMIN is needed)", err)
		}
		return err
	}
	log.Info(done, "mode", string(o.Mode), "inbound", r.settings.Inbound, "outbound", r.settings.Outbound, "names", o.CaptureDNS)
	return nil
}

// inNamespace runs f in the network namespace of that path, or in the process's
// own.
func inNamespace(path string, f func() error) error {
	if path == "" {
		return f()
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer file.Close()
	n, err := intercept.OpenNamespace(int(file.Fd()))
	if err != nil {
		return err
	}
	return errors.Join(n.Do(f), n.Close())
}
