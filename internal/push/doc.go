// Package push turns the mesh's configuration and workloads into what each
// connected proxy should have, and knows how far each proxy is with it.
//
// One goroutine, Engine.Run, owns everything that is built: it reads objects and
// workloads, calls the pure stages (istioapi.Read, mesh.Build, package compile,
// package build), and offers each connection its state. What a host contributes is
// kept as long as everything that its compilation asked has the same answer, for all
// proxies that give those answers (docs/decisions/008); proxies that give the same to
// all questions are a class, and share its resources. Proxies of equal facts
// share a variant, resources of equal bytes share a fragment: what did not change
// is the same pointer and the same version, and is not sent again.
package push
