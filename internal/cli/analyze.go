package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/doctor/analysis"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// analyzeFlags are the flags of analyze, istioctl's.
type analyzeFlags struct {
	home                              homeFlags
	inputs                            inputFlags
	namespace, output                 string
	all, useKube, list                bool
	failureThreshold, outputThreshold string
	suppress                          []string
}

func newAnalyzeCommand(env *Env) *cobra.Command {
	var f analyzeFlags
	cmd := &cobra.Command{
		Use:   "analyze [FILE...]",
		Short: "Say what is wrong with configuration, in files or in a mesh",
		Long: `Say what is wrong with the configuration of a mesh, or of files against it: what
the checks of objects and the control plane say, with Istio's codes where these
say the same, and codes of our own (LTN…) otherwise. Files count before objects of
the mesh with the same name; with --use-kube=false nothing but the files is read.

The exit code is 79 if a message is as grave as --failure-threshold.`,
		Example: `  lateen analyze -n default
  lateen analyze -A -o json
  lateen analyze --use-kube=false routes.yaml
  lateen analyze -A -S "IST0101=VirtualService *.test"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.inputs.files = append(f.inputs.files, args...)
			return f.run(cmd.Context(), env)
		},
	}
	f.home.register(env, cmd)
	f.inputs.register(cmd, "check")
	fl := cmd.Flags()
	fl.StringVarP(&f.namespace, "namespace", "n", "", "only objects of this namespace (default: default)")
	fl.BoolVarP(&f.all, "all-namespaces", "A", false, "objects of all namespaces")
	fl.BoolVarP(&f.useKube, "use-kube", "k", true, "read the running mesh")
	fl.BoolVarP(&f.list, "list-analyzers", "L", false, "list what is looked for, and end")
	fl.StringVarP(&f.output, "output", "o", "log", "output format: log, json, yaml")
	fl.StringVar(&f.failureThreshold, "failure-threshold", "Error", "the level of messages that fail: Info, Warning, Error")
	fl.StringVar(&f.outputThreshold, "output-threshold", "Info", "the level of messages that are shown: Info, Warning, Error")
	fl.StringArrayVarP(&f.suppress, "suppress", "S", nil, `messages to leave out, as "IST0101=VirtualService *.default"; may be repeated`)
	return cmd
}

func (f *analyzeFlags) run(ctx context.Context, env *Env) error {
	if err := oneOf(f.output, "log", "json", "yaml"); err != nil {
		return err
	}
	if f.list {
		return listAnalyzers(env)
	}
	fails, err := analysis.ParseLevel(f.failureThreshold)
	if err != nil {
		return usage("--failure-threshold: %v", err)
	}
	shown, err := analysis.ParseLevel(f.outputThreshold)
	if err != nil {
		return usage("--output-threshold: %v", err)
	}
	found, err := f.find(ctx, env)
	if err != nil {
		return err
	}
	if found, err = f.leaveOut(found, shown); err != nil {
		return err
	}
	analysis.Sort(found)
	if err := f.print(env, found); err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(m analysis.Message) bool { return m.Grade >= fails }) {
		return &ExitError{Code: ExitFound, Err: fmt.Errorf("issues found when analyzing %s", f.what())}
	}
	return nil
}

// what names what was looked at.
func (f *analyzeFlags) what() string {
	switch {
	case len(f.inputs.files) > 0:
		return strings.Join(f.inputs.files, ", ")
	case f.all:
		return "all namespaces"
	}
	return "namespace: " + f.inNamespace()
}

func (f *analyzeFlags) inNamespace() string {
	if f.namespace == "" {
		return api.DefaultNamespace
	}
	return f.namespace
}

// find reads what there is and judges it.
func (f *analyzeFlags) find(ctx context.Context, env *Env) ([]analysis.Message, error) {
	if len(f.inputs.files) == 0 && !f.useKube {
		return nil, usage("with --use-kube=false there must be files to look at")
	}
	files, err := f.inputs.read(env)
	if err != nil {
		return nil, err
	}
	var found []analysis.Message
	var chosen []*api.Object
	for _, file := range files {
		objects, err := api.DecodeIn(bytes.NewReader(file.Content), file.Name, f.inNamespace())
		found = append(found, analysis.Unreadable(err)...)
		chosen = append(chosen, objects...)
	}
	if !f.useKube {
		return append(found, analysis.Objects(chosen, func(*api.Object) bool { return true }, false)...), nil
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		statuses, err := verdictsFrom(ctx, h)
		return append(found, analysis.Verdicts(statuses)...), h.Explain(env, err)
	}
	running, _, err := readMesh(ctx, h)
	if err != nil {
		return nil, h.Explain(env, err)
	}
	given := map[verdict.Ref]bool{}
	for _, o := range chosen {
		given[o.Ref()] = true
	}
	running = slices.DeleteFunc(running, func(o *api.Object) bool { return given[o.Ref()] })
	_, deployed := h.(*clusterHome)
	return append(found, analysis.Objects(slices.Concat(chosen, running), func(o *api.Object) bool { return given[o.Ref()] }, deployed)...), nil
}

func verdictsFrom(ctx context.Context, h home) ([]verdict.Status, error) {
	c, err := h.Config(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.Status(ctx, configapi.Query{})
	return statusesOf(list), err
}

// leaveOut drops what is suppressed, below the threshold, of Kubernetes' own
// namespaces, or of another namespace than the one that is looked at.
func (f *analyzeFlags) leaveOut(found []analysis.Message, shown analysis.Level) ([]analysis.Message, error) {
	var suppressed []analysis.Suppression
	for _, text := range f.suppress {
		s, err := analysis.ParseSuppression(text)
		if err != nil {
			return nil, usage("--suppress: %v", err)
		}
		suppressed = append(suppressed, s)
	}
	return slices.DeleteFunc(found, func(m analysis.Message) bool {
		elsewhere := len(f.inputs.files) == 0 && !f.all && m.Ref.Namespace != "" && m.Ref.Namespace != f.inNamespace()
		return m.Grade < shown || elsewhere || strings.HasPrefix(m.Ref.Namespace, "kube-") ||
			slices.ContainsFunc(suppressed, func(s analysis.Suppression) bool { return s.Matches(m) })
	}), nil
}

func (f *analyzeFlags) print(env *Env, found []analysis.Message) error {
	if f.output != "log" {
		if found == nil {
			found = []analysis.Message{}
		}
		return printDocument(env, found, f.output)
	}
	if len(found) == 0 {
		fmt.Fprintf(env.Out, "✔ No validation issues found when analyzing %s.\n", f.what())
		return nil
	}
	for _, m := range found {
		if _, err := fmt.Fprintln(env.Out, m); err != nil {
			return err
		}
	}
	return nil
}

func listAnalyzers(env *Env) error {
	w := newTable(env.Out)
	w.row("CODE", "LEVEL", "NAME", "LOOKS FOR")
	for _, c := range analysis.Codes() {
		w.row(c.Code, c.Level.String(), c.Name, c.About)
	}
	return w.flush()
}
