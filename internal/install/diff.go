package install

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

// ErrNotInstalled says that there is nothing to upgrade.
var ErrNotInstalled = errors.New("not installed")

// Difference is what Apply would change in one object.
type Difference struct {
	Ref    apply.Ref
	Change apply.Change
	Text   string // unified diff; "" for an object that is new
	// Removed: the settings do not have the object any more.
	Removed bool
}

// Installed gives the version of the control plane that a plan would upgrade.
func (in *Installer) Installed(ctx context.Context, p *Plan) (string, error) {
	name := "istiod"
	if p.Revision != "" {
		name += "-" + p.Revision
	}
	ref := apply.Ref{Kind: kinds[3], Namespace: p.Namespace, Name: name}
	o, err := in.Cluster.Get(ctx, ref)
	if err != nil {
		return "", err
	}
	if o == nil {
		return "", fmt.Errorf("%s: %w", ref, ErrNotInstalled)
	}
	if by := foreign(o); by != "" {
		return "", fmt.Errorf("%s: %w: %s", ref, ErrForeign, by)
	}
	return o.GetLabels()[labelVersion], nil
}

// Diff asks the API server what Apply would change. Nothing is changed.
func (in *Installer) Diff(ctx context.Context, p *Plan) ([]Difference, error) {
	if err := in.check(ctx, p); err != nil {
		return nil, err
	}
	var out []Difference
	var all []Document
	for _, c := range p.Components {
		docs, err := c.render(in.Cluster)
		if err != nil {
			return nil, err
		}
		all = append(all, docs...)
		for _, d := range docs {
			o := p.mark(d.Object, c.ID)
			if held, err := in.heldDefinition(ctx, o); err != nil {
				return nil, err
			} else if held != "" {
				continue
			}
			outcome, err := in.Cluster.Apply(ctx, o, true)
			if err != nil {
				return nil, err
			}
			if one, changed, err := difference(outcome); err != nil {
				return nil, err
			} else if changed {
				out = append(out, one)
			}
		}
	}
	gone, err := in.obsolete(ctx, p, all)
	for _, ref := range gone {
		out = append(out, Difference{Ref: ref, Removed: true})
	}
	return out, err
}

// difference compares what a person would: not what the API server counts.
func difference(o apply.Outcome) (Difference, bool, error) {
	d := Difference{Ref: apply.RefOf(o.After), Change: o.Change}
	if o.Before == nil {
		return d, true, nil
	}
	before, err := readable(o.Before)
	if err != nil {
		return d, false, err
	}
	after, err := readable(o.After)
	if err != nil {
		return d, false, err
	}
	text := string(diff.Diff(d.Ref.String(), []byte(before), d.Ref.String(), []byte(after)))
	// The first line names a command that nobody has run.
	if first, rest, found := strings.Cut(text, "\n"); found && strings.HasPrefix(first, "diff ") {
		text = rest
	}
	d.Text = text
	return d, before != after, nil
}

func readable(o *unstructured.Unstructured) (string, error) {
	o = o.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	delete(o.Object, "status")
	text, err := yaml.Marshal(o.Object)
	return string(text), err
}
