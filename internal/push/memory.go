package push

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// The names of the documents in the store.
const (
	routesDocument    = "routes"
	addressesDocument = "addresses"
	demandDocument    = "demand"
)

// memory is what builds remember: the last effective form of each route, the
// services' addresses, and what workloads call.
type memory struct {
	routes    compile.Prior
	addresses map[string]netip.Addr
	demand    demand

	newRoutes, newAddresses bool // not saved yet
}

func (m *memory) load(from Memory) error {
	_, err := from.LoadPrior(routesDocument, &m.routes)
	if err != nil {
		return fmt.Errorf("remembered routes: %w", err)
	}
	if _, err = from.LoadPrior(addressesDocument, &m.addresses); err != nil {
		return fmt.Errorf("remembered addresses: %w", err)
	}
	if _, err = from.LoadPrior(demandDocument, &m.demand.learned); err != nil {
		return fmt.Errorf("remembered calls: %w", err)
	}
	return nil
}

// follow takes what another replica has kept, and reports whether that differs
// from what was remembered here. Where it cannot be read, the own memory acts.
func (m *memory) follow(from Memory, log *slog.Logger) (changed bool) {
	var kept memory
	if err := kept.load(from); err != nil {
		log.Warn("what the leading replica remembers was not read", "err", err)
		return false
	}
	m.demand.merge(kept.demand.learned)
	if reflect.DeepEqual(kept.routes, m.routes) && maps.Equal(kept.addresses, m.addresses) {
		return false
	}
	m.routes, m.addresses = kept.routes, kept.addresses
	m.newRoutes, m.newAddresses = false, false
	return true
}

// allocate gives services their addresses, those that they had where possible.
func (m *memory) allocate(cidr netip.Prefix, services []registry.Service) map[string]netip.Addr {
	next := registry.Allocate(m.addresses, cidr, services)
	maps.Copy(next, registry.AllocateEntries(m.addresses, registry.AutoAddresses, services))
	if !maps.Equal(next, m.addresses) {
		m.addresses, m.newAddresses = next, true
	}
	return next
}

// learn remembers the routes that act as written.
func (m *memory) learn(snap *mesh.Snapshot) {
	next := compile.Next(snap, m.routes)
	if !reflect.DeepEqual(next, m.routes) {
		m.routes, m.newRoutes = next, true
	}
}

// save stores what is new; what fails is tried again with the next build.
func (m *memory) save(to Memory) error {
	var errs []error
	if m.newRoutes {
		err := to.SavePrior(routesDocument, m.routes)
		m.newRoutes = err != nil
		errs = append(errs, err)
	}
	if m.newAddresses {
		err := to.SavePrior(addressesDocument, m.addresses)
		m.newAddresses = err != nil
		errs = append(errs, err)
	}
	if m.demand.changed {
		err := to.SavePrior(demandDocument, m.demand.learned)
		m.demand.changed = err != nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
