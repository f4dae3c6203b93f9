package cni

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// Decision is what is to be done with a pod's traffic.
type Decision struct {
	// Options are what to redirect; nil: nothing, for the reason.
	Options *intercept.PodOptions `json:"options,omitempty"`
	Reason  string                `json:"reason,omitempty"`
}

// Decide says what of the pod's traffic is redirected. Which pods are left out,
// and what their annotations mean, is as with Istio's plugin; a wrong annotation is
// an error, which keeps the pod from starting.
func Decide(p *Pod, exclude []string) (Decision, error) {
	if reason := leftOut(p, exclude); reason != "" {
		return Decision{Reason: reason}, nil
	}
	s, err := settings(p)
	if err != nil {
		return Decision{}, fmt.Errorf("pod %s: %w", p, err)
	}
	o, err := s.Parse()
	if err != nil {
		return Decision{}, fmt.Errorf("pod %s: %w", p, err)
	}
	if o.Mode == intercept.ModeNone {
		return Decision{Reason: "its interception mode is NONE"}, nil
	}
	return Decision{Options: &o}, nil
}

// leftOut tells why a pod is not redirected, or nothing.
func leftOut(p *Pod, exclude []string) string {
	proxy := p.container(proxyContainer)
	inject := p.Metadata.Labels[injectName]
	if inject == "" {
		inject = p.Metadata.Annotations[injectName]
	}
	switch {
	case slices.Contains(exclude, p.Metadata.Namespace):
		return "its namespace is excluded"
	case p.Spec.HostNetwork:
		return "it uses the host's network"
	case proxy == nil:
		return "it has no container " + proxyContainer
	case p.container(initContainer) != nil:
		return "its container " + initContainer + " redirects"
	case proxy.env("LATEEN_ROLE") == "router" || slices.Contains(proxy.Args, "router"):
		return "it is a gateway"
	case proxy.env("DISABLE_ENVOY") == "true":
		return "its proxy serves no traffic (DISABLE_ENVOY)"
	case inject == "false":
		return "injection is switched off for it"
	case p.Metadata.Annotations[statusAnnotation] == "":
		return "it was not injected (no annotation " + statusAnnotation + ")"
	}
	return ""
}

// settings reads the annotations and the proxy's environment. Excluded inbound
// ports always have the proxy's own.
func settings(p *Pod) (intercept.Settings, error) {
	proxy := p.container(proxyContainer)
	s := intercept.Defaults()
	s.Inbound, s.Outbound = "*", "*"
	s.Mode = proxy.env("ISTIO_META_INTERCEPTION_MODE")
	s.GroupsInclude, s.GroupsExclude = proxy.env("ISTIO_OUTBOUND_OWNER_GROUPS"), proxy.env("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE")
	if c := proxy.SecurityContext; c != nil {
		s.UIDs = id(c.RunAsUser, s.UIDs)
		s.GIDs = id(c.RunAsGroup, s.UIDs)
	}
	var err, errs error
	for name, to := range map[string]*bool{"ISTIO_META_DNS_CAPTURE": &s.CaptureDNS, "INVALID_DROP": &s.DropInvalid} {
		if text := proxy.env(name); text != "" {
			if *to, err = strconv.ParseBool(text); err != nil {
				errs = errors.Join(errs, fmt.Errorf("environment variable %s of %s: %q is neither true nor false", name, proxyContainer, text))
			}
		}
	}
	known := map[string]*string{
		modeAnnotation:                            &s.Mode,
		rerouteAnnotation:                         &s.RerouteInterfaces,
		trafficPrefix + "includeInboundPorts":     &s.Inbound,
		trafficPrefix + "excludeInboundPorts":     &s.ExcludeInbound,
		trafficPrefix + "includeOutboundIPRanges": &s.Outbound,
		trafficPrefix + "excludeOutboundIPRanges": &s.ExcludeOutbound,
		trafficPrefix + "includeOutboundPorts":    &s.IncludeOutboundPorts,
		trafficPrefix + "excludeOutboundPorts":    &s.ExcludeOutboundPorts,
		trafficPrefix + "excludeInterfaces":       &s.ExcludeInterfaces,
	}
	// The older name of the annotation counts where the newer is not given.
	s.RerouteInterfaces = p.Metadata.Annotations[trafficPrefix+"kubevirtInterfaces"]
	status := "15020"
	for name, value := range p.Metadata.Annotations {
		switch to := known[name]; {
		case to != nil:
			*to = value
		case name == portAnnotation && value != "0" && value != "":
			status = value
		case strings.HasPrefix(name, trafficPrefix) && name != trafficPrefix+"kubevirtInterfaces":
			errs = errors.Join(errs, fmt.Errorf("annotation %s is not known", name))
		}
	}
	s.ExcludeInbound = strings.Join([]string{s.ExcludeInbound, status, "15021", "15090"}, ",")
	return s, errs
}

// id gives the number of a user or group that is not root, or what stands for it.
func id(n *int64, other string) string {
	if n == nil || *n == 0 {
		return other
	}
	return strconv.FormatInt(*n, 10)
}
