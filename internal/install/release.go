package install

// Charts, by their directories.
const (
	chartKinds        = "base"
	chartControlPlane = "istiod"
	chartCNI          = "cni"
	chartGateway      = "gateway"
)
