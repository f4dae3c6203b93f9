package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
)

// target is what an argument like "vs", "vs/reviews" or "vs reviews" names; an
// empty name means all objects of the kind.
type target struct {
	kind *api.Kind
	name string
}

// parseTargets reads kubectl's forms: KIND[,KIND...] [NAME...] or KIND/NAME....
// The kind "all" stands for all kinds.
func parseTargets(args []string) ([]target, error) {
	if len(args) == 0 {
		return nil, usage("name a kind of object, for example virtualservice")
	}
	if strings.Contains(args[0], "/") {
		var targets []target
		for _, arg := range args {
			kind, name, ok := strings.Cut(arg, "/")
			if !ok || name == "" {
				return nil, usage("%q is not of the form KIND/NAME, as the arguments before it are", arg)
			}
			k, err := api.ParseKind(kind)
			if err != nil {
				return nil, &ExitError{Code: ExitFailure, Err: err}
			}
			targets = append(targets, target{kind: k, name: name})
		}
		return targets, nil
	}
	kinds, err := parseKinds(args[0])
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, k := range kinds {
		if len(args) == 1 {
			targets = append(targets, target{kind: k})
		}
		for _, name := range args[1:] {
			if strings.Contains(name, "/") {
				return nil, usage("%q: names cannot be given as KIND/NAME after a kind", name)
			}
			targets = append(targets, target{kind: k, name: name})
		}
	}
	return targets, nil
}

func parseKinds(list string) ([]*api.Kind, error) {
	if list == "all" {
		return api.Kinds(), nil
	}
	var kinds []*api.Kind
	for name := range strings.SplitSeq(list, ",") {
		k, err := api.ParseKind(name)
		if err != nil {
			return nil, &ExitError{Code: ExitFailure, Err: err}
		}
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return kinds, nil
}

// completeKinds offers kinds for the first argument.
func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, k := range api.Kinds() {
		names = append(names, strings.ToLower(k.Name))
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}
