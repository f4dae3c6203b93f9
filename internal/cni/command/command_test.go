package command

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/cni"
)

func environment(name string) string {
	return map[string]string{"NODE_NAME": "node1", "POD_NAMESPACE": "istio-system"}[name]
}

// TestDaemonSet: the arguments of the manifest are the command's.
func TestDaemonSet(t *testing.T) {
	text, err := os.ReadFile("../testdata/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Kind string
		Spec struct {
			Template struct {
				Spec struct{ Containers []struct{ Args []string } }
			}
		}
	}
	for d := yaml.NewDecoder(bytes.NewReader(text)); set.Kind != "DaemonSet"; {
		if err := d.Decode(&set); err != nil {
			t.Fatal(err)
		}
	}
	args := set.Spec.Template.Spec.Containers[0].Args
	if len(args) < 2 || args[0] != Name || args[1] != "install" {
		t.Fatalf("the arguments are %q", args)
	}
	var errs strings.Builder
	o, err := parse(&errs, environment, args[2:])
	if err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	if o.Node != "node1" || o.Namespace != "istio-system" || o.FailurePolicy != cni.Fail || o.Repair != cni.RepairPods || o.ConfName != "00-lateen-cni.conflist" ||
		!slices.Equal(o.ExcludeNamespaces, []string{"kube-system", "istio-system"}) {
		t.Errorf("options %+v", o)
	}
}

func TestErrors(t *testing.T) {
	for want, args := range map[string][]string{
		`--failure-policy "fail" is neither Fail nor Ignore`:                        {"--failure-policy=fail"},
		`--repair "yes" is none of repair, delete, label, off`:                      {"--repair=yes"},
		`--repair-label "x" is not of the form key=value`:                           {"--repair-label=x"},
		`unexpected argument "x"`:                                                   {"x"},
		`flag provided but not defined: -x`:                                         {"-x"},
		`the node's name and the agent's namespace are needed: --node, --namespace`: {"--node="},
	} {
		var errs strings.Builder
		if _, err := parse(&errs, environment, args); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct{ args, want []string }{
		{[]string{"/opt/cni/bin/lateen-cni"}, []string{"cni", "plugin"}},
		{[]string{"/lateen-proxy", "run", "--pod"}, []string{"run", "--pod"}},
		{[]string{"/lateen-proxy"}, []string{}},
	} {
		if got := Arguments(c.args); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}
