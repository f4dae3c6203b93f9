package kube

import (
	"bytes"
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// rootMap is the ConfigMap from which pods take the roots that they trust, and
	// rootKey its key: Istio's names, which injected pods mount.
	rootMap = "istio-ca-root-cert"
	rootKey = "root-cert.pem"
	// rootLabel marks the ConfigMaps for people, as Istio does.
	rootLabel = "istio.io/config"

	rootRetry = 2 * time.Second // after an error

	// What is overwritten again and again has another owner: two meshes that do not
	// divide the namespaces between them (MeshConfig.discoverySelectors). It is then
	// written once in rootPeriod only.
	rootBurst  = 5
	rootPeriod = 30 * time.Second
)

// KeepRoots keeps the ConfigMap istio-ca-root-cert (key root-cert.pem) in every
// selected namespace at what roots gives, whatever others do to it; changed wakes
// it when that changes. It returns nil when ctx ends. The leader runs it.
func (s *Source) KeepRoots(ctx context.Context, roots func() []byte, changed <-chan struct{}) error {
	moved := make(chan struct{}, 1)
	held := newTable(s.c.configMapKind(metav1.NamespaceAll, "metadata.name="+rootMap), func(string) { poke(moved) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		held.run(ctx, s.c)
	}()
	defer func() { <-done }()
	namespaces := s.watch(ctx, s.onNamespaces)
	limits := map[string]flowcontrol.RateLimiter{}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		case <-namespaces:
		case <-changed:
		case <-retry.C:
		}
		if ctx.Err() != nil || held.settled(false) != nil || s.Synced() != nil {
			continue // the table wakes us, or the namespaces do
		}
		if !s.distribute(ctx, held, roots(), limits) {
			retry.Reset(rootRetry)
		}
	}
}

// distribute writes the roots where they are missing or wrong; it reports whether
// all is well then.
func (s *Source) distribute(ctx context.Context, held *table[*Document], roots []byte, limits map[string]flowcontrol.RateLimiter) bool {
	if len(roots) == 0 {
		return true
	}
	well := true
	for namespace := range s.selectedNamespaces() {
		if systemNamespaces[namespace] {
			continue
		}
		if d, ok := held.get(namespace + "/" + rootMap); ok && bytes.Equal(d.Data[rootKey], roots) {
			continue
		}
		if limits[namespace] == nil {
			limits[namespace] = flowcontrol.NewTokenBucketRateLimiter(float32(1/rootPeriod.Seconds()), rootBurst)
		}
		if !limits[namespace].TryAccept() {
			s.log.Debug("somebody else writes the mesh's roots", "namespace", namespace)
			well = false
			continue
		}
		err := s.c.ApplyConfigMap(ctx, Document{
			Namespace: namespace, Name: rootMap, Labels: map[string]string{rootLabel: "true"}, Data: map[string][]byte{rootKey: roots},
		})
		if ctx.Err() != nil {
			return true
		}
		if err != nil {
			s.log.Warn("a namespace did not get the mesh's roots; its pods cannot start", "namespace", namespace, "err", err)
			well = false
		}
	}
	return well
}
