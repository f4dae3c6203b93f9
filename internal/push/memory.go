package push

import (
	"errors"
	"fmt"
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
)

// memory is what builds remember: the last effective form of each route, and the
// services' addresses.
type memory struct {
	routes    compile.Prior
	addresses map[string]netip.Addr

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
	return nil
}

// allocate gives services their addresses, those that they had where possible.
func (m *memory) allocate(cidr netip.Prefix, services []registry.Service) map[string]netip.Addr {
	next := registry.Allocate(m.addresses, cidr, services)
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
	return errors.Join(errs...)
}
