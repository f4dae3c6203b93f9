package intercept

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// ReadResolvers reads the name servers of a resolv.conf (resolv.conf(5)).
func ReadResolvers(path string) ([]netip.Addr, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("name servers: %w", err)
	}
	defer f.Close()
	var addrs []netip.Addr
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(words[1])
		if err != nil {
			return nil, fmt.Errorf("name servers: %s: %q is not an address", path, words[1])
		}
		addrs = append(addrs, a.Unmap().WithZone(""))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("name servers: %s: %w", path, err)
	}
	return addrs, nil
}
