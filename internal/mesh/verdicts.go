package mesh

import (
	"fmt"
	"strings"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// verdicts collects statuses.
type verdicts struct{ list []verdict.Status }

func (v *verdicts) say(at verdict.Origin, code verdict.Code, format string, args ...any) {
	v.by(at, code, verdict.Ref{}, format, args...)
}

func (v *verdicts) by(at verdict.Origin, code verdict.Code, by verdict.Ref, format string, args ...any) {
	v.list = append(v.list, verdict.Status{Origin: at, Code: code, Message: fmt.Sprintf(format, args...), By: by})
}

// effective says of every object that has no verdict as a whole that it acts.
func (v *verdicts) effective(cfg *Config) {
	judged := map[verdict.Ref]bool{}
	for _, s := range v.list {
		if s.Path == "" {
			judged[s.Ref] = true
		}
	}
	add := func(o verdict.Origin) {
		if !judged[o.Ref] {
			v.list = append(v.list, verdict.Status{Origin: o, Code: verdict.Effective})
		}
	}
	for i := range cfg.Namespaces {
		add(cfg.Namespaces[i].Origin)
	}
	for i := range cfg.Accounts {
		add(cfg.Accounts[i].Origin)
	}
	for i := range cfg.Services {
		add(cfg.Services[i].Origin)
	}
	for i := range cfg.Routes {
		add(cfg.Routes[i].Origin)
	}
	for i := range cfg.Policies {
		add(cfg.Policies[i].Origin)
	}
	for i := range cfg.Gateways {
		add(cfg.Gateways[i].Origin)
	}
	for i := range cfg.MTLS {
		add(cfg.MTLS[i].Origin)
	}
	for i := range cfg.Entries {
		add(cfg.Entries[i].Origin)
	}
	for i := range cfg.Scopes {
		add(cfg.Scopes[i].Origin)
	}
}

// serviceRef guesses the Service behind a host's full name.
func serviceRef(host string) verdict.Ref {
	name, rest, _ := strings.Cut(host, ".")
	namespace, suffix, _ := strings.Cut(rest, ".")
	if suffix != "svc."+Domain {
		return verdict.Ref{}
	}
	return verdict.Ref{Kind: "Service", Namespace: namespace, Name: name}
}
