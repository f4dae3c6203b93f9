// Package inject puts the mesh's proxy into pods. Injector.Inject is a pure
// function: a pod, what is known of its namespace, the mesh configuration and the
// injector's configuration give the patched pod and verdicts on the pod's labels
// and annotations. Three things use it: the admission webhook (Handler), the
// offline command `lateen inject` (Documents) and what says why a pod has a proxy
// or has none (Wants, MatchWebhooks: `lateen check-inject`).
//
// The way of a pod:
//
//	annotation.go    are the values of the known annotations valid?
//	policy.go        is a proxy wanted?
//	strip.go         what did an earlier injection add?
//	proxyconfig.go   mesh defaults, ProxyConfig resources, annotation
//	template.go      the templates are rendered and merged over the pod
//	override.go      what the user wrote about our containers wins
//	finish.go        probes, metrics, labels, order of containers, status
//
// Templates are written in the language and over the data of Istio's injection
// templates, so that templates of users keep working. The built-in templates are
// part of the program, not of the ConfigMap, so program and templates always fit.
package inject
