// Package push turns the mesh's configuration and workloads into what each
// connected proxy should have, and knows how far each proxy is with it.
//
// One goroutine, Engine.Run, owns everything that is built: it reads objects and
// workloads, calls the pure stages (istioapi.Read, mesh.Build, compile.Proxy,
// build.Resources), and offers each connection its state. Proxies of equal facts
// share a variant, resources of equal bytes share a fragment: what did not change
// is the same pointer and the same version, and is not sent again. A change of
// workloads that moves endpoints only rebuilds the endpoints that moved.
package push
