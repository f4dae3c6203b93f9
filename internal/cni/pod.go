package cni

// Names of the pod contract that injection writes.
const (
	initContainer       = "istio-init"
	validationContainer = "istio-validation"
	proxyContainer      = "istio-proxy"

	statusAnnotation  = "sidecar.istio.io/status"
	injectName        = "sidecar.istio.io/inject" // a label, formerly an annotation
	modeAnnotation    = "sidecar.istio.io/interceptionMode"
	portAnnotation    = "status.sidecar.istio.io/port"
	rerouteAnnotation = "istio.io/reroute-virtual-interfaces"
	trafficPrefix     = "traffic.sidecar.istio.io/"
)

// Pod is what is read of a Pod of the core API.
type Pod struct {
	Metadata Metadata  `json:"metadata"`
	Spec     PodSpec   `json:"spec"`
	Status   PodStatus `json:"status"`
}

// Metadata is that of any object.
type Metadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	DeletionTimestamp string            `json:"deletionTimestamp"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
}

// PodSpec is the part of a pod that the user and injection wrote.
type PodSpec struct {
	NodeName       string      `json:"nodeName"`
	HostNetwork    bool        `json:"hostNetwork"`
	InitContainers []Container `json:"initContainers"`
	Containers     []Container `json:"containers"`
}

// Container is one of a pod.
type Container struct {
	Name            string           `json:"name"`
	Args            []string         `json:"args"`
	Env             []EnvVar         `json:"env"`
	SecurityContext *SecurityContext `json:"securityContext"`
}

// EnvVar is an environment variable with a literal value.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SecurityContext says who a container runs as.
type SecurityContext struct {
	RunAsUser  *int64 `json:"runAsUser"`
	RunAsGroup *int64 `json:"runAsGroup"`
}

// PodStatus is what the kubelet reports.
type PodStatus struct {
	Phase  string `json:"phase"`
	PodIPs []struct {
		IP string `json:"ip"`
	} `json:"podIPs"`
	InitContainerStatuses []ContainerStatus `json:"initContainerStatuses"`
}

// ContainerStatus is how a container does.
type ContainerStatus struct {
	Name      string         `json:"name"`
	State     ContainerState `json:"state"`
	LastState ContainerState `json:"lastState"`
}

// ContainerState tells of a container's end, if it ended.
type ContainerState struct {
	Terminated *struct {
		ExitCode int    `json:"exitCode"`
		Reason   string `json:"reason"`
	} `json:"terminated"`
}

// String names the pod.
func (p *Pod) String() string { return p.Metadata.Namespace + "/" + p.Metadata.Name }

// container finds a container, ordinary or init.
func (p *Pod) container(name string) *Container {
	for _, list := range [][]Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// env gives the literal value of an environment variable.
func (c *Container) env(name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}
