package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/analyze"
	"github.com/lateen-mesh/lateen/internal/api"
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
the checks of objects and the control plane say and what Istio's analyzers look
for, with Istio's codes, and codes of our own (LTN…) otherwise; docs/verdicts.md
lists them. Files count before objects of the mesh with the same name; with
--use-kube=false nothing but the files is read. The annotation
galley.istio.io/analyze-suppress of an object leaves its messages out.

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
	fl.StringVarP(&f.output, "output", "o", "log", "output format: log, table, json, yaml")
	fl.StringVar(&f.failureThreshold, "failure-threshold", "Error", "the level of messages that fail: Info, Warning, Error")
	fl.StringVar(&f.outputThreshold, "output-threshold", "Info", "the level of messages that are shown: Info, Warning, Error")
	fl.StringArrayVarP(&f.suppress, "suppress", "S", nil, `messages to leave out, as "IST0101=VirtualService *.default"; may be repeated`)
	return cmd
}

func (f *analyzeFlags) run(ctx context.Context, env *Env) error {
	if err := oneOf(f.output, "log", "table", "json", "yaml"); err != nil {
		return err
	}
	if f.list {
		return listAnalyzers(env)
	}
	fails, err := analyze.ParseLevel(f.failureThreshold)
	if err != nil {
		return usage("--failure-threshold: %v", err)
	}
	shown, err := analyze.ParseLevel(f.outputThreshold)
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
	analyze.Sort(found)
	if err := f.print(env, found); err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(m analyze.Message) bool { return m.Grade >= fails }) {
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
func (f *analyzeFlags) find(ctx context.Context, env *Env) ([]analyze.Message, error) {
	if len(f.inputs.files) == 0 && !f.useKube {
		return nil, usage("with --use-kube=false there must be files to look at")
	}
	files, err := f.inputs.read(env)
	if err != nil {
		return nil, err
	}
	var found []analyze.Message
	var in analyze.Input
	for _, file := range files {
		objects, others, err := api.DecodeMixed(bytes.NewReader(file.Content), file.Name, f.inNamespace())
		found = append(found, analyze.Unreadable(err)...)
		in.Objects, in.Others = append(in.Objects, objects...), append(in.Others, others...)
	}
	if !f.useKube {
		return append(found, analyze.Run(in)...), nil
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return nil, err
	}
	_, in.Deployed = h.(*clusterHome)
	in.Proxied = !in.Deployed
	if len(files) == 0 {
		in.Objects, in.Said, err = readMesh(ctx, h)
		if err != nil {
			return nil, h.Explain(env, err)
		}
		return append(found, analyze.Run(in)...), nil
	}
	running, _, err := readMesh(ctx, h)
	if err != nil {
		return nil, h.Explain(env, err)
	}
	given := map[verdict.Ref]bool{}
	for _, o := range in.Objects {
		given[o.Ref()] = true
	}
	for _, o := range in.Others {
		given[verdict.Ref{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}] = true
	}
	in.Chosen = func(r verdict.Ref) bool { return given[r] }
	in.Objects = slices.Concat(in.Objects, slices.DeleteFunc(running, func(o *api.Object) bool { return given[o.Ref()] }))
	return append(found, analyze.Run(in)...), nil
}

// leaveOut drops what is suppressed, below the threshold, of Kubernetes' own
// namespaces, or of another namespace than the one that is looked at.
func (f *analyzeFlags) leaveOut(found []analyze.Message, shown analyze.Level) ([]analyze.Message, error) {
	var suppressed []analyze.Suppression
	for _, text := range f.suppress {
		s, err := analyze.ParseSuppression(text)
		if err != nil {
			return nil, usage("--suppress: %v", err)
		}
		suppressed = append(suppressed, s)
	}
	return slices.DeleteFunc(found, func(m analyze.Message) bool {
		elsewhere := len(f.inputs.files) == 0 && !f.all && m.Ref.Namespace != "" && m.Ref.Namespace != f.inNamespace()
		return m.Grade < shown || elsewhere || strings.HasPrefix(m.Ref.Namespace, "kube-") ||
			slices.ContainsFunc(suppressed, func(s analyze.Suppression) bool { return s.Matches(m) })
	}), nil
}

func (f *analyzeFlags) print(env *Env, found []analyze.Message) error {
	if f.output == "json" || f.output == "yaml" {
		if found == nil {
			found = []analyze.Message{}
		}
		return printDocument(env, found, f.output)
	}
	if len(found) == 0 {
		fmt.Fprintf(env.Out, "✔ No validation issues found when analyzing %s.\n", f.what())
		return nil
	}
	if f.output == "table" {
		w := newTable(env.Out)
		w.row("LEVEL", "CODE", "OBJECT", "FIELD", "MESSAGE")
		for _, m := range found {
			w.row(m.Level, m.Code, m.Origin, m.Path, m.Message)
		}
		return w.flush()
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
	for _, c := range analyze.Codes() {
		w.row(c.Code, c.Level.String(), c.Name, c.About)
	}
	return w.flush()
}
