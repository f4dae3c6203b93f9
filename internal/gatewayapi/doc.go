// Package gatewayapi reads objects of the Kubernetes Gateway API into the neutral
// model (package mesh): the second front end beside package istioapi. Neither is
// translated into the other; both fill the same routes and gateways.
//
// What the specification of the Gateway API says of attachment (parentRefs,
// allowedRoutes, hostnames), of references over namespaces (ReferenceGrant) and of
// conditions is decided here; how rules rank among each other is marked on the
// model (mesh.RouteSet.Ranked) and done by the compiler.
//
// Reading never fails as a whole. What cannot act as written gets a condition in
// the object's status, a verdict, and the effect that the specification demands:
// requests for an invalid rule or backend are answered 500, an invalid listener
// stays closed, the rest ships. Functions are pure: they read no clock, and times of
// transitions are filled in by Status.Merge, for those who write statuses.
package gatewayapi
