// Package pod reads what a proxy is told by its pod: the environment, the volumes
// and the mesh's settings in PROXY_CONFIG, under Istio's names and in Istio's
// places, so that what injects the container and what runs in it agree.
//
// Nothing here is started: the package gives values, and says what it does not act
// on.
package pod
