package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/doctor"
	"github.com/lateen-mesh/lateen/internal/push"
)

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	home   homeFlags
	output string
}

func newDoctorCommand(env *Env) *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether the mesh is well, and say what to do where it is not",
		Long: `Look at the mesh, check by check, and say for each problem what to do about it.
Nothing is changed. It works before the mesh is installed as well: then it tells
what the cluster lacks. The exit code is 79 if a check fails.

Checks in a cluster: ` + strings.Join(doctor.Names(), ", ") + ".",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.home.register(env, cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "output format: json, yaml")
	return cmd
}

func (f *doctorFlags) run(ctx context.Context, env *Env) error {
	if err := oneOf(f.output, "", "json", "yaml"); err != nil {
		return err
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	results, err := examine(ctx, h)
	if err != nil {
		return h.Explain(env, err)
	}
	if f.output != "" {
		if err := printDocument(env, results, f.output); err != nil {
			return err
		}
	} else {
		printResults(env, results)
	}
	failed := 0
	for _, r := range results {
		if r.State == doctor.Failed {
			failed++
		}
	}
	if failed > 0 {
		return &ExitError{Code: ExitFound, Err: fmt.Errorf("%s found", count(failed, "problem", "problems"))}
	}
	return nil
}

// examine runs the checks of the home.
func examine(ctx context.Context, h home) ([]doctor.Result, error) {
	if c, ok := h.(*clusterHome); ok {
		d := &doctor.Doctor{Client: c.client, Revision: c.revision, Now: time.Now, Proxies: func(ctx context.Context) ([]push.ProxyStatus, int, error) {
			return statusesFrom(ctx, h)
		}}
		return d.Examine(ctx)
	}
	return examineMachine(ctx, h)
}

// statusesFrom gives the states of all proxies, and how many replicas told them.
func statusesFrom(ctx context.Context, h home) ([]push.ProxyStatus, int, error) {
	planes, err := h.Planes(ctx)
	if err != nil {
		return nil, 0, err
	}
	list, err := connectedProxies(ctx, h)
	var out []push.ProxyStatus
	for _, p := range list {
		out = append(out, p.ProxyStatus)
	}
	return out, len(planes), err
}

// examineMachine looks at a mesh on this machine: whoever runs it has looked at the
// machine already.
func examineMachine(ctx context.Context, h home) ([]doctor.Result, error) {
	list, _, err := statusesFrom(ctx, h)
	if err != nil {
		return nil, err
	}
	out := []doctor.Result{{Check: "mesh", State: doctor.OK, Message: "the mesh runs on this machine"}}
	bad := 0
	for _, p := range list {
		if len(p.Refusals) > 0 {
			bad++
			out = append(out, doctor.Result{Check: "proxies", State: doctor.Failed, Message: p.Name + " refuses its configuration: " + strings.Join(p.Refusals, "; "), Hint: "`lateen status` names the object; the proxy keeps what it had"})
		} else if p.Waiting != "" {
			bad++
			out = append(out, doctor.Result{Check: "proxies", State: doctor.Warning, Message: "of " + p.Name + " is outstanding: " + p.Waiting, Hint: "`lateen proxy-status " + p.Name + "` shows what it lacks"})
		}
	}
	if bad == 0 {
		out = append(out, doctor.Result{Check: "proxies", State: doctor.OK, Message: count(len(list), "proxy has", "proxies have") + " what they should have"})
	}
	_, statuses, err := readMesh(ctx, h)
	if err != nil {
		return nil, err
	}
	problems := 0
	for _, s := range statuses {
		if s.Code.Problem() {
			problems++
		}
	}
	if problems > 0 {
		return append(out, doctor.Result{Check: "objects", State: doctor.Warning, Message: count(problems, "verdict is", "verdicts are") + " no praise", Hint: "`lateen status` lists them"}), nil
	}
	return append(out, doctor.Result{Check: "objects", State: doctor.OK, Message: "all objects act as written"}), nil
}

// marks are the signs before results.
var marks = map[doctor.State]string{doctor.OK: "✔", doctor.Warning: "!", doctor.Failed: "✘", doctor.Skipped: "-"}

func printResults(env *Env, results []doctor.Result) {
	for _, r := range results {
		fmt.Fprintf(env.Out, "%s %s: %s\n", marks[r.State], r.Check, r.Message)
		if r.Hint != "" && r.State != doctor.OK {
			fmt.Fprintf(env.Out, "    %s\n", r.Hint)
		}
	}
}
