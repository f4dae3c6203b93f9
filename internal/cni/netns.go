package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// namespaces finds the network namespaces of the node's pods by their addresses.
// It belongs to one goroutine.
type namespaces struct {
	dir    string // the host's /proc, or the folder where its runtime keeps namespaces
	byAddr map[netip.Addr]string
}

// open enters the namespace that has all addresses of the pod. The addresses are
// checked in the namespace itself, as processes and their numbers come and go: no
// other namespace, and never the host's, is taken for the pod's.
func (n *namespaces) open(p *Pod) (*intercept.Namespace, error) {
	want := map[netip.Addr]bool{}
	var any netip.Addr
	for _, ip := range p.Status.PodIPs {
		a, err := netip.ParseAddr(ip.IP)
		if err != nil {
			return nil, fmt.Errorf("the pod's address: %w", err)
		}
		any = a.Unmap()
		want[any] = true
	}
	ns, err := openHolding(n.byAddr[any], want)
	if err == nil {
		return ns, nil
	}
	if err := n.scan(); err != nil {
		return nil, err
	}
	return openHolding(n.byAddr[any], want)
}

// scan learns the addresses of all namespaces.
func (n *namespaces) scan() error {
	paths, err := n.list()
	if err != nil {
		return fmt.Errorf("the node's network namespaces: %w", err)
	}
	n.byAddr = map[netip.Addr]string{}
	seen := map[uint64]bool{} // many processes share a namespace
	for _, path := range paths {
		inode, err := inodeOf(path)
		if err != nil || seen[inode] {
			continue // it ended, or is known
		}
		seen[inode] = true
		ns, own, err := enter(path)
		if err != nil {
			continue // as above; a pod that is not found is told
		}
		ns.Close()
		for _, a := range own {
			if !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				n.byAddr[a] = path
			}
		}
	}
	return nil
}

// list gives the paths of namespaces: of processes where the folder is a /proc,
// else the files themselves.
func (n *namespaces) list() (paths []string, err error) {
	entries, err := os.ReadDir(n.dir)
	for _, e := range entries {
		path := filepath.Join(n.dir, e.Name())
		if _, err := strconv.Atoi(e.Name()); err == nil && e.IsDir() {
			paths = append(paths, filepath.Join(path, "ns", "net"))
		} else if e.Type()&(fs.ModeDir) == 0 {
			paths = append(paths, path)
		}
	}
	return paths, err
}

// openHolding enters a namespace, if it has the addresses.
func openHolding(path string, want map[netip.Addr]bool) (*intercept.Namespace, error) {
	if path == "" {
		return nil, errors.New("no network namespace has the pod's addresses")
	}
	ns, own, err := enter(path)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, a := range own {
		if want[a] {
			n++
		}
	}
	if n < len(want) {
		return nil, errors.Join(errors.New("no network namespace has all of the pod's addresses"), ns.Close())
	}
	return ns, nil
}

// enter opens a namespace and lists its addresses.
func enter(path string) (*intercept.Namespace, []netip.Addr, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	ns, err := intercept.OpenNamespace(int(file.Fd()))
	if err != nil {
		return nil, nil, err
	}
	var own []netip.Addr
	err = ns.Do(func() (err error) {
		own, err = intercept.Addresses()
		return err
	})
	if err != nil {
		return nil, nil, errors.Join(err, ns.Close())
	}
	return ns, own, nil
}
