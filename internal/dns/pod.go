package dns

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/miekg/dns"
)

// Search gives the search path that a file in the form of resolv.conf has, and the
// cluster's domain as it shows there ("svc.DOMAIN" is in every pod's path); domain is
// "" where it does not. "" is /etc/resolv.conf.
func Search(file string) (search []string, domain string, err error) {
	if file == "" {
		file = hostFile
	}
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, "", fmt.Errorf("the pod's search path: %w", err)
	}
	for _, s := range c.Search {
		s = canonical(s)
		search = append(search, s)
		if len(s) > 4 && s[:4] == "svc." {
			domain = s[4:]
		}
	}
	return search, domain, nil
}

// Sockets is a pair to serve on.
type Sockets struct {
	UDP net.PacketConn
	TCP net.Listener
}

// Close closes both.
func (s Sockets) Close() error { return errors.Join(s.UDP.Close(), s.TCP.Close()) }

// ListenLoopback opens a port on the loopback addresses, where redirected questions
// arrive: IPv4's, and IPv6's where the pod has that.
func ListenLoopback(port string) ([]Sockets, error) {
	var out []Sockets
	for _, host := range []string{"127.0.0.1", "::1"} {
		s, err := listen(net.JoinHostPort(host, port))
		if err != nil && host == "::1" && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			continue
		}
		if err != nil {
			for _, s := range out {
				err = errors.Join(err, s.Close())
			}
			return nil, fmt.Errorf("names: %w", err)
		}
		out = append(out, s)
	}
	return out, nil
}

func listen(addr string) (s Sockets, err error) {
	if s.UDP, err = net.ListenPacket("udp", addr); err != nil {
		return s, err
	}
	if s.TCP, err = net.Listen("tcp", addr); err != nil {
		return s, errors.Join(err, s.UDP.Close())
	}
	return s, nil
}
