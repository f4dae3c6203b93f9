package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/kube"
)

// injectFlags are those of `istioctl kube-inject`.
type injectFlags struct {
	cluster                           clusterFlags
	file, output, namespace, revision string
	meshFile, meshMap                 string
	configFile, configMap, valuesFile string
	mesh, config, values              string // the texts
}

func newInjectCommand(env *Env) *cobra.Command {
	f := &injectFlags{}
	cmd := &cobra.Command{
		Use:     "inject -f FILE",
		Aliases: []string{"kube-inject"},
		Short:   "Put the proxy into the pods of Kubernetes resources, offline",
		Long: `Put the proxy into the pods and pod templates of a YAML file, as the control plane
does when pods are created. The result goes to standard output; other objects stay
as they are, and so do resources that were injected before. What was skipped, and
annotations that do not act, are told on standard error.

The mesh configuration and the injector's configuration and values come from the
files that are named, else from the ConfigMaps of the cluster that kubectl would
use, else, where there is no kubeconfig, from the built-in defaults.`,
		Example: `  lateen inject -f app.yaml | kubectl apply -f -
  lateen kube-inject -f app.yaml --meshConfigFile mesh.yaml --valuesFile values.json -o injected.yaml`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.file == "" {
				return usage("must specify -f")
			}
			return f.run(cmd.Context(), env)
		},
	}
	f.cluster.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "filename", "f", "", "file with Kubernetes resources; - is standard input")
	flags.StringVarP(&f.output, "output", "o", "", "file to write instead of standard output")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of resources that name none")
	flags.StringVarP(&f.revision, "revision", "r", "", "revision of the control plane")
	flags.StringVar(&f.meshFile, "meshConfigFile", "", "mesh configuration; wins over --meshConfigMapName")
	flags.StringVar(&f.meshMap, "meshConfigMapName", "istio", "ConfigMap with the mesh configuration (key mesh)")
	flags.StringVar(&f.configFile, "injectConfigFile", "", "injector configuration; wins over --injectConfigMapName")
	flags.StringVar(&f.configMap, "injectConfigMapName", "istio-sidecar-injector", "ConfigMap of the injector (keys config and values)")
	flags.StringVar(&f.valuesFile, "valuesFile", "", "values for the injector's templates, YAML or JSON")
	return cmd
}

func (f *injectFlags) run(ctx context.Context, env *Env) error {
	text, err := readText(env, f.file)
	if err != nil {
		return err
	}
	if err := f.load(ctx, env); err != nil {
		return err
	}
	in, err := f.injector()
	if err != nil {
		return &ExitError{Code: ExitBadData, Err: err}
	}
	out, notes, err := in.Documents([]byte(text), inject.Namespace{Name: f.namespace})
	if err != nil {
		return &ExitError{Code: ExitBadData, Err: fmt.Errorf("%s: %w", f.file, err)}
	}
	for _, n := range notes {
		if !n.Decision.Inject {
			fmt.Fprintf(env.Err, "===> Skipping injection of %s: %s\n", n.Object, n.Decision.Message)
		}
		for _, v := range n.Verdicts {
			fmt.Fprintf(env.Err, "%s: %s: %s: %s\n", n.Object, v.Path, v.Code, v.Message)
		}
	}
	if f.output != "" && f.output != "-" {
		return os.WriteFile(f.output, out, 0o666)
	}
	_, err = env.Out.Write(out)
	return err
}

// load reads the files that are named, and the cluster's ConfigMaps for the rest.
func (f *injectFlags) load(ctx context.Context, env *Env) error {
	for _, x := range []struct {
		file string
		to   *string
	}{{f.meshFile, &f.mesh}, {f.configFile, &f.config}, {f.valuesFile, &f.values}} {
		if x.file == "" {
			continue
		}
		var err error
		if *x.to, err = readText(env, x.file); err != nil {
			return err
		}
	}
	if f.meshFile != "" && f.configFile != "" && f.valuesFile != "" || !f.hasCluster(env) {
		return nil
	}
	c, err := kube.Connect(ctx, kube.Options{Kubeconfig: f.cluster.kubeconfig, Context: f.cluster.context, Namespace: f.cluster.namespace, Revision: f.revision})
	if err != nil {
		return err
	}
	for _, x := range []struct {
		name, key, file string
		to              *string
	}{{f.meshMap, "mesh", f.meshFile, &f.mesh}, {f.configMap, "config", f.configFile, &f.config}, {f.configMap, "values", f.valuesFile, &f.values}} {
		if x.file != "" {
			continue
		}
		m, err := c.ConfigMap(ctx, c.Namespace(), c.Named(x.name))
		if errors.Is(err, kube.ErrNotFound) {
			return fmt.Errorf("%w; is Lateen installed there? --meshConfigFile, --injectConfigFile and --valuesFile need no cluster", err)
		}
		if err != nil {
			return err
		}
		*x.to = string(m.Data[x.key])
	}
	return nil
}

// hasCluster reports whether the user has a cluster at all.
func (f *injectFlags) hasCluster(env *Env) bool {
	if f.cluster.kubeconfig != "" || f.cluster.context != "" || env.Getenv("KUBECONFIG") != "" {
		return true
	}
	_, err := os.Stat(filepath.Join(env.Getenv("HOME"), ".kube", "config"))
	return err == nil
}

func (f *injectFlags) injector() (*inject.Injector, error) {
	values, err := inject.ParseValues([]byte(f.values))
	if err != nil {
		return nil, err
	}
	config, err := inject.ParseConfig([]byte(f.config))
	if err != nil {
		return nil, err
	}
	var mesh *meshconfig.MeshConfig
	if mesh, err = inject.ParseMesh([]byte(f.mesh)); err != nil {
		return nil, err
	}
	return inject.New(inject.Settings{Config: config, Values: values, Mesh: mesh, Revision: f.revision, SystemNamespace: f.cluster.namespace})
}
