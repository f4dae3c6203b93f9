package kube

import (
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
)

// Context is the place of a kubeconfig that people are in.
type Context struct {
	Name      string // of the context; "" in a pod
	Namespace string // "default" where it names none
}

// CurrentContext reads the context that Connect takes for the options.
func CurrentContext(o Options) (Context, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	namespace, _, err := config.Namespace()
	if err != nil {
		return Context{}, err
	}
	raw, err := config.RawConfig()
	if err != nil {
		return Context{}, err
	}
	c := Context{Name: raw.CurrentContext, Namespace: namespace}
	if o.Context != "" {
		c.Name = o.Context
	}
	return c, nil
}

// HasCluster reports whether there is a cluster to speak of without being told
// which: a kubeconfig where kubectl looks for one, or the one that this process
// runs in. Nothing is dialled.
func HasCluster(getenv func(string) string) bool {
	if getenv("KUBERNETES_SERVICE_HOST") != "" {
		return true
	}
	files := strings.Split(getenv("KUBECONFIG"), string(os.PathListSeparator))
	if getenv("KUBECONFIG") == "" {
		files = []string{filepath.Join(getenv("HOME"), ".kube", "config")}
	}
	for _, f := range files {
		if _, err := os.Stat(f); f != "" && err == nil {
			return true
		}
	}
	return false
}
