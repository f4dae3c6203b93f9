package supervise

import (
	"cmp"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// replica is what planning must know of a pod.
type replica struct {
	index       int
	current     bool // made from the current template
	ready       bool
	terminating bool
}

// plan decides the next step towards the wanted number of current replicas: how
// many to make, and which (indices into pods) to end. It keeps the bounds of the
// Deployment's strategy (apps/v1 RollingUpdate: maxSurge, maxUnavailable;
// Recreate).
func plan(spec *appsv1.DeploymentSpec, pods []replica) (create int, stop []int) {
	want := replicas(spec)
	var current, old, leaving []int
	ready := 0
	for i, p := range pods {
		switch {
		case p.terminating:
			leaving = append(leaving, i)
			continue
		case p.current:
			current = append(current, i)
		default:
			old = append(old, i)
		}
		if p.ready {
			ready++
		}
	}
	// Those that serve nobody go first, then the youngest.
	order := func(a, b int) int {
		if pods[a].ready != pods[b].ready {
			if pods[a].ready {
				return 1
			}
			return -1
		}
		return cmp.Compare(pods[b].index, pods[a].index)
	}
	if spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && (len(old) > 0 || len(leaving) > 0 && len(current) == 0) {
		return 0, old
	}
	surge, unavailable := bounds(spec, want)
	create = max(0, min(want-len(current), want+surge-len(current)-len(old)))
	if extra := len(current) - want; extra > 0 {
		slices.SortFunc(current, order)
		for _, i := range current[:extra] {
			stop = append(stop, i)
			if pods[i].ready {
				ready--
			}
		}
	}
	slices.SortFunc(old, order)
	for _, i := range old {
		if pods[i].ready {
			if ready <= want-unavailable {
				break
			}
			ready--
		}
		stop = append(stop, i)
	}
	return create, stop
}

func replicas(spec *appsv1.DeploymentSpec) int {
	if spec.Replicas == nil {
		return 1
	}
	return int(*spec.Replicas)
}

// bounds gives maxSurge (rounded up) and maxUnavailable (rounded down), both 25 %
// by default; when both are zero, nothing could ever change, and one surplus pod
// is allowed.
func bounds(spec *appsv1.DeploymentSpec, want int) (surge, unavailable int) {
	quarter := intstr.FromString("25%")
	s, u := &quarter, &quarter
	if r := spec.Strategy.RollingUpdate; r != nil {
		if r.MaxSurge != nil {
			s = r.MaxSurge
		}
		if r.MaxUnavailable != nil {
			u = r.MaxUnavailable
		}
	}
	scale := func(v *intstr.IntOrString, up bool) int {
		n, err := intstr.GetScaledValueFromIntOrPercent(v, want, up)
		if err != nil { // not a percentage: the default
			n, _ = intstr.GetScaledValueFromIntOrPercent(&quarter, want, up)
		}
		return max(0, n)
	}
	surge, unavailable = scale(s, true), scale(u, false)
	if surge == 0 && unavailable == 0 {
		surge = 1
	}
	return surge, unavailable
}
