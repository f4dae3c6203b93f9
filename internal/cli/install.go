package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

// clusterFlags say which cluster a command is about.
type clusterFlags struct {
	kubeconfig, context, namespace string
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.kubeconfig, "kubeconfig", "c", "", "file that says where the cluster is")
	cmd.Flags().StringVar(&f.context, "context", "", "context of the kubeconfig")
	cmd.Flags().StringVarP(&f.namespace, "istioNamespace", "i", install.DefaultNamespace, "namespace of the control plane")
}

// connect gives the cluster; the first request tells whether it answers.
func (f *clusterFlags) connect(ctx context.Context) (*apply.Cluster, error) {
	c, err := kube.Connect(ctx, kube.Options{Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace})
	if err != nil {
		return nil, err
	}
	return apply.New(c), nil
}

// settingsFlags are what is installed.
type settingsFlags struct {
	files, set        []string
	profile, revision string
}

func (f *settingsFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVarP(&f.files, "filename", "f", nil, "IstioOperator or Helm values; - is standard input; may be repeated, the last wins")
	cmd.Flags().StringArrayVarP(&f.set, "set", "s", nil, "a value, as in --set meshConfig.accessLogFile=/dev/stdout; may be repeated")
	cmd.Flags().StringVar(&f.profile, "profile", "", "set of defaults: "+strings.Join(install.Profiles(), ", "))
	cmd.Flags().StringVarP(&f.revision, "revision", "r", "", "name of this control plane, to run beside others")
}

// plan reads the settings. A mistake in them is bad data.
func (f *settingsFlags) plan(env *Env, namespace string) (*install.Plan, error) {
	request := install.Request{Profile: f.profile, Revision: f.revision, Set: f.set}
	for _, name := range f.files {
		text, err := readText(env, name)
		if err != nil {
			return nil, err
		}
		request.Files = append(request.Files, text)
	}
	settings, err := install.ReadSettings(request)
	if err != nil {
		return nil, &ExitError{Code: ExitBadData, Err: err}
	}
	if _, given := settings["namespace"]; !given {
		settings["namespace"] = namespace
	}
	plan, err := install.NewPlan(settings)
	if err != nil {
		return nil, &ExitError{Code: ExitBadData, Err: err}
	}
	for _, note := range plan.Notes {
		fmt.Fprintln(env.Err, "! "+note)
	}
	return plan, nil
}

func readText(env *Env, name string) (string, error) {
	if name == "-" {
		text, err := io.ReadAll(env.In)
		return string(text), err
	}
	text, err := os.ReadFile(name)
	return string(text), err
}

// installFlags are the flags of install and upgrade.
type installFlags struct {
	cluster  clusterFlags
	settings settingsFlags
	dryRun   bool
	output   string
	yes      bool
	wait     bool
	timeout  time.Duration
}

func (f *installFlags) register(cmd *cobra.Command) {
	f.cluster.register(cmd)
	f.settings.register(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "change nothing; with -o yaml print the objects without asking the cluster")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "with --dry-run: yaml")
	cmd.Flags().BoolVarP(&f.yes, "skip-confirmation", "y", false, "do not ask")
	cmd.Flags().BoolVar(&f.wait, "wait", true, "wait until each component works")
	cmd.Flags().DurationVar(&f.timeout, "readiness-timeout", 5*time.Minute, "how long to wait for one component")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Minute, "the same as --readiness-timeout")
}

func newInstallCommand(env *Env) *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the mesh into a Kubernetes cluster",
		Long: `Install the mesh: the kinds of Istio's APIs, the control plane, and the gateways
of a profile. What is applied is what the Helm charts say; doing it again brings
the cluster to what the command line says now.

Objects that another tool has made are never taken over: Istio's own
installation, and what Helm has installed.`,
		Example: `  lateen install
  lateen install --set profile=demo -y
  lateen install --set meshConfig.accessLogFile=/dev/stdout
  lateen install --revision canary --profile minimal
  lateen install --dry-run -o yaml | kubectl diff -f -`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.install(cmd.Context(), env) },
	}
	f.register(cmd)
	return cmd
}

func (f *installFlags) install(ctx context.Context, env *Env) error {
	plan, err := f.settings.plan(env, f.cluster.namespace)
	if err != nil {
		return err
	}
	if f.output != "" {
		if f.output != "yaml" || !f.dryRun {
			return usage("-o %s: only --dry-run -o yaml prints objects", f.output)
		}
		return printPlan(env, plan)
	}
	if len(plan.Components) == 0 {
		fmt.Fprintf(env.Err, "Nothing is part of the profile %q: nothing to install.\n", plan.Profile)
		return nil
	}
	if !f.dryRun && !f.yes {
		ok, err := confirm(env, "This will install %s into the cluster. Proceed? (y/N) ", describe(plan))
		if err != nil || !ok {
			return err
		}
	}
	return f.apply(ctx, env, plan)
}

// apply brings the plan into the cluster.
func (f *installFlags) apply(ctx context.Context, env *Env, plan *install.Plan) error {
	cluster, err := f.cluster.connect(ctx)
	if err != nil {
		return err
	}
	installer := &install.Installer{
		Cluster: cluster, Wait: f.wait, Timeout: f.timeout, DryRun: f.dryRun,
		Say: func(line string) { fmt.Fprintln(env.Out, line) },
	}
	if err := installer.Apply(ctx, plan); err != nil {
		return fmt.Errorf("failed to install manifests: %w", err)
	}
	if f.dryRun {
		fmt.Fprintln(env.Out, "✔ Dry run complete: the cluster accepts all objects")
		return nil
	}
	fmt.Fprintln(env.Out, "✔ Installation complete")
	return nil
}

// describe is `Lateen 1.2.3 profile "default" (with components: ...)`.
func describe(plan *install.Plan) string {
	var names []string
	for _, c := range plan.Components {
		names = append(names, c.Title)
	}
	list := strings.Join(names, ", ")
	if i := strings.LastIndex(list, ", "); i >= 0 {
		list = list[:i] + " and " + list[i+2:]
	}
	what := fmt.Sprintf("Lateen %s profile %q (with components: %s)", readBuildInfo().Version, plan.Profile, list)
	if plan.Revision != "" {
		what += fmt.Sprintf(" as revision %q", plan.Revision)
	}
	return what
}

// printPlan prints the objects of a plan as the charts render them.
func printPlan(env *Env, plan *install.Plan) error {
	docs, err := plan.Render(nil)
	if err != nil {
		return &ExitError{Code: ExitBadData, Err: err}
	}
	_, err = io.WriteString(env.Out, install.Text(docs))
	return err
}

// confirm asks and reads one line.
func confirm(env *Env, question string, args ...any) (bool, error) {
	fmt.Fprintf(env.Out, question, args...)
	line, err := bufio.NewReader(env.In).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	fmt.Fprintln(env.Out, "Cancelled.")
	return false, &ExitError{Code: ExitFailure, Err: fmt.Errorf("cancelled: nothing was changed; -y does not ask")}
}

// printObject prints one object as YAML.
func printObject(out io.Writer, o *unstructured.Unstructured) error {
	text, err := yaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}
