package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
)

// userVolumes reads sidecar.istio.io/userVolume and userVolumeMount: JSON objects
// of volume sources and of mounts by the volume's name. They are read into
// Kubernetes' types, so that nothing else gets into the pod.
func (w *work) userVolumes(c *contract) error {
	volumes, err := readNamed[corev1.Volume](w.bare.Annotations, annotation.SidecarUserVolume.Name)
	if err != nil {
		return err
	}
	mounts, err := readNamed[corev1.VolumeMount](w.bare.Annotations, annotation.SidecarUserVolumeMount.Name)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		v := volumes[name]
		v.Name = name
		c.Volumes = append(c.Volumes, v)
	}
	for _, name := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[name]
		m.Name = name
		c.Mounts = append(c.Mounts, m)
	}
	return nil
}

func readNamed[T any](annotations map[string]string, name string) (map[string]T, error) {
	text, ok := annotations[name]
	if !ok {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	out := map[string]T{}
	if err := d.Decode(&out); err != nil {
		return nil, userError("annotation %s: %w", name, err)
	}
	return out, nil
}

// resourcesOf gives the proxy's resources: those of the annotations if there is one,
// else those of the installation, as in Istio.
func (w *work) resourcesOf(c *contract) {
	a := w.bare.Annotations
	own := map[string]any{}
	for _, x := range []struct{ list, resource, annotation string }{
		{"requests", "cpu", annotation.SidecarProxyCPU.Name}, {"requests", "memory", annotation.SidecarProxyMemory.Name},
		{"limits", "cpu", annotation.SidecarProxyCPULimit.Name}, {"limits", "memory", annotation.SidecarProxyMemoryLimit.Name},
	} {
		if v, ok := a[x.annotation]; ok {
			m, _ := own[x.list].(map[string]any)
			if m == nil {
				m = map[string]any{}
				own[x.list] = m
			}
			m[x.resource] = v
		}
	}
	if len(own) == 0 {
		own, _ = w.values.at("global.proxy.resources").(map[string]any)
	}
	c.Resources = own
}

// probesOf gives the proxy's own probes.
func (w *work) probesOf(c *contract) {
	number := func(name, value string) int {
		text := w.values.text("global.proxy." + value)
		if v, ok := w.bare.Annotations[name]; ok {
			text = v
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0 // the annotation is checked; a value that is no number means Kubernetes' default
		}
		return n
	}
	c.Readiness = w.proxy.StatusPort != 0
	c.InitialDelay = number(annotation.SidecarStatusReadinessInitialDelaySeconds.Name, "readinessInitialDelaySeconds")
	c.Period = number(annotation.SidecarStatusReadinessPeriodSeconds.Name, "readinessPeriodSeconds")
	c.FailThreshold = number(annotation.SidecarStatusReadinessFailureThreshold.Name, "readinessFailureThreshold")
	c.StartupFailThreshold = number("", "startupProbe.failureThreshold")
	// A native sidecar holds the containers after it until its startup probe succeeds.
	c.Startup = c.Readiness && (w.values.flag("global.proxy.startupProbe.enabled") || w.native && c.Hold)
}

// annotationsOf gives the annotations that injection adds: kubectl's default
// container and, for a CNI plugin, what the init container would be told.
func (w *work) annotationsOf(c *contract) error {
	c.Annotations = map[string]string{}
	if names := apps(&w.bare.Spec); len(names) > 0 {
		for _, name := range []string{annotationDefaultLogs, annotationDefault} {
			if _, ok := w.bare.Annotations[name]; !ok {
				c.Annotations[name] = names[0]
			}
		}
	}
	if !c.CNI {
		return nil
	}
	if w.values.text("pilot.cni.provider") == "multus" || w.values.text("istio_cni.provider") == "multus" || w.values.text("istio_cni.chained") == "false" {
		networks, err := appendMultusNetwork(w.bare.Annotations[annotationMultus], multusNetwork)
		if err != nil {
			return err
		}
		c.Annotations[annotationMultus] = networks
	}
	c.Annotations[annotation.SidecarInterceptionMode.Name] = c.Mode
	for _, x := range []struct{ annotation, value string }{
		{annotation.SidecarTrafficIncludeOutboundIPRanges.Name, "includeIPRanges"},
		{annotation.SidecarTrafficExcludeOutboundIPRanges.Name, "excludeIPRanges"},
		{annotation.SidecarTrafficIncludeInboundPorts.Name, "includeInboundPorts"},
		{annotation.SidecarTrafficIncludeOutboundPorts.Name, "includeOutboundPorts"},
		{annotation.SidecarTrafficExcludeOutboundPorts.Name, "excludeOutboundPorts"},
	} {
		if v := w.traffic(x.annotation, x.value); v != "" && !isset(w.bare.Annotations, x.annotation) {
			c.Annotations[x.annotation] = v
		}
	}
	if v := w.values.text("global.proxy.excludeInterfaces"); v != "" && !isset(w.bare.Annotations, annotation.SidecarTrafficExcludeInterfaces.Name) {
		c.Annotations[annotation.SidecarTrafficExcludeInterfaces.Name] = v
	}
	// The plugin adds 15090 and 15021 itself.
	if v := strings.TrimPrefix(w.excludedInbound(), fmt.Sprintf("%d,%d,", portMetrics, portReady)); v != "" {
		c.Annotations[annotation.SidecarTrafficExcludeInboundPorts.Name] = v
	}
	return nil
}
