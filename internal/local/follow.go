package local

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/local/supervise"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// objectPoll is how often the configuration's revision is looked at.
const objectPoll = 200 * time.Millisecond

// followObjects keeps the Supervisor's Deployments as the configuration wants
// them. first is closed when it has told them once.
func (m *mesh) followObjects(ctx context.Context, first chan<- struct{}) error {
	var seen int64 = -1
	for {
		revision, err := m.readObjects(ctx, seen)
		switch {
		case err == nil:
			if seen < 0 {
				close(first)
			}
			seen = revision
		case ctx.Err() == nil:
			// The control plane may be away: what runs goes on.
			m.log.Debug("configuration not read", "error", err)
		}
		select {
		case <-time.After(objectPoll):
		case <-ctx.Done():
			return nil
		}
	}
}

// readObjects tells the Supervisor what is wanted, unless the revision is the one
// that was seen.
func (m *mesh) readObjects(ctx context.Context, seen int64) (int64, error) {
	// A kind with few objects tells the revision.
	list, err := m.config.Objects(ctx, configapi.Query{Kind: "Namespace"})
	if err != nil || list.Revision == seen {
		return seen, err
	}
	next := &sources{maps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}}
	var wanted []supervise.Deployment
	for _, kind := range []string{"ConfigMap", "Secret", "Service", "Deployment"} {
		list, err := m.config.Objects(ctx, configapi.Query{Kind: kind})
		if err != nil {
			return seen, err
		}
		for _, item := range list.Items {
			objects, err := api.Decode(bytes.NewReader(item), "the configuration")
			if err != nil {
				return seen, fmt.Errorf("reading the configuration: %w", err)
			}
			for _, o := range objects {
				key := o.Meta.Namespace + "/" + o.Meta.Name
				switch v := o.Spec.(type) {
				case *corev1.ConfigMap:
					next.maps[key] = v
				case *corev1.Secret:
					next.secrets[key] = v
				case *corev1.Service:
					v.Name, v.Namespace = o.Meta.Name, o.Meta.Namespace
					if s, ok := service(v); ok {
						next.services = append(next.services, s)
					}
				case *appsv1.Deployment:
					wanted = append(wanted, supervise.Deployment{Origin: o.Origin(), Object: v})
				}
			}
		}
	}
	m.sources.set(next)
	m.sup.Set(wanted)
	return list.Revision, nil
}

// sources are the objects that environments refer to. It implements
// supervise.Sources.
type sources struct {
	mu      sync.Mutex
	maps    map[string]*corev1.ConfigMap // guarded by mu, by namespace/name
	secrets map[string]*corev1.Secret    // guarded by mu, by namespace/name
	// services are those with a virtual address.
	services []registry.Service // guarded by mu; immutable
}

func (s *sources) set(next *sources) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maps, s.secrets, s.services = next.maps, next.secrets, next.services
}

// virtual lists the services with a virtual address.
func (s *sources) virtual() []registry.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services
}

// ConfigMap implements supervise.Sources.
func (s *sources) ConfigMap(namespace, name string) (*corev1.ConfigMap, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.maps[namespace+"/"+name]
	return m, ok
}

// Secret implements supervise.Sources.
func (s *sources) Secret(namespace, name string) (*corev1.Secret, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.secrets[namespace+"/"+name]
	return m, ok
}
