// Package gatewaydeploy gives each Gateway of the Gateway API its workload on
// Kubernetes: a Deployment whose pod is completed by the injection template
// "gateway", a Service, a ServiceAccount, and where its parameters ask for them a
// HorizontalPodAutoscaler and a PodDisruptionBudget. It writes the statuses of the
// Gateway API's objects, too.
//
// What belongs to a Gateway is a pure function (Render). A Controller compares it
// with what it applied before and applies the difference server-side; the leader
// alone runs it. Names, labels and annotations are Istio's.
package gatewaydeploy
