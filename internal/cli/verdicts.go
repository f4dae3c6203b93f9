package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// spread says on how many of the connected proxies the newest configuration is in
// force, and which ones are behind or refuse it.
type spread struct {
	InForce int      `json:"inForce"`
	Proxies int      `json:"proxies"`
	Behind  []string `json:"behind,omitempty"`  // "reviews-v1-0.default (its answer to cds)"
	Refused []string `json:"refused,omitempty"` // "reviews-v1-0.default: cluster "x": why"
}

// spreadOf asks the proxies of a mesh. A proxy that refuses something has the rest in
// force; it is counted as refusing.
func spreadOf(ctx context.Context, h home) (spread, error) {
	list, err := connectedProxies(ctx, h)
	return spreadOver(list), err
}

func spreadOver(list []connected) spread {
	s := spread{Proxies: len(list)}
	for _, p := range list {
		for _, r := range p.Refusals {
			s.Refused = append(s.Refused, p.Name+": "+r)
		}
		switch {
		case p.Waiting != "":
			s.Behind = append(s.Behind, p.Name+" ("+p.Waiting+")")
		case p.Revision < p.Offered:
			s.Behind = append(s.Behind, p.Name)
		case len(p.Refusals) == 0:
			s.InForce++
		}
	}
	return s
}

// String is the line under a status.
func (s spread) String() string {
	text := fmt.Sprintf("%d of %s %s it in force", s.InForce, count(s.Proxies, "proxy", "proxies"), map[bool]string{true: "has", false: "have"}[s.Proxies == 1])
	if len(s.Behind) > 0 {
		text += "\nstill waiting for " + strings.Join(s.Behind, ", ")
	}
	for _, r := range s.Refused {
		text += "\nrefused by " + r
	}
	return text
}

// refusing are the verdicts that --strict does not let pass: what was applied does
// not act, or not as written.
var refusing = []verdict.Code{verdict.Invalid, verdict.Unsupported, verdict.NotActedOn}

// tellVerdicts prints what became of the objects of a change, those that act as
// written left out. bad counts the objects that --strict does not let pass.
func tellVerdicts(ctx context.Context, env *Env, client *configapi.Client, objects []configapi.Change) (bad int, err error) {
	list, err := client.Status(ctx, configapi.Query{})
	if err != nil {
		return 0, err
	}
	changed := map[verdict.Ref]bool{}
	for _, o := range objects {
		changed[verdict.Ref{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}] = true
	}
	for _, o := range list.Objects {
		ref := verdict.Ref{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
		if !changed[ref] {
			continue
		}
		for _, d := range o.Details {
			if d.Code == verdict.Effective {
				continue
			}
			s := verdict.Status{Origin: verdict.Origin{Ref: ref, Path: d.Path}, Code: d.Code, Message: d.Message}
			text := s.String()
			if d.By != "" && !strings.Contains(text, d.By) {
				text += " (" + d.By + ")"
			}
			fmt.Fprintln(env.Err, text)
		}
		if slices.Contains(refusing, o.Verdict) {
			bad++
		}
	}
	return bad, nil
}
