package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// hostFile names the host's resolvers.
const hostFile = "/etc/resolv.conf"

// Host asks the host's resolvers. It is safe for concurrent use.
type Host struct {
	file string

	mu      sync.Mutex
	servers []string      // guarded by mu: "address:port"
	timeout time.Duration // guarded by mu: for each server
	read    time.Time     // guarded by mu: when the file was looked at
	changed time.Time     // guarded by mu: the file's time then
}

// NewHost asks the resolvers that a file in the form of resolv.conf names; ""
// is /etc/resolv.conf. The file is read again when it changes.
func NewHost(file string) *Host {
	if file == "" {
		file = hostFile
	}
	return &Host{file: file}
}

// Exchange implements Upstream: it asks one resolver after the other until one
// answers.
func (h *Host) Exchange(ctx context.Context, m *dns.Msg, tcp bool) (*dns.Msg, error) {
	servers, timeout, err := h.resolvers()
	if err != nil {
		return nil, err
	}
	client := &dns.Client{Timeout: timeout, UDPSize: dns.DefaultMsgSize}
	if tcp {
		client.Net = "tcp"
	}
	var errs []error
	for _, server := range servers {
		r, _, err := client.ExchangeContext(ctx, m, server)
		if err == nil && r.Rcode != dns.RcodeServerFailure && r.Rcode != dns.RcodeRefused {
			return r, nil
		}
		if err == nil {
			err = fmt.Errorf("%s answers %s", server, dns.RcodeToString[r.Rcode])
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// recheck is how long the file is taken to be unchanged.
const recheck = 2 * time.Second

func (h *Host) resolvers() ([]string, time.Duration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.read) > recheck {
		info, err := os.Stat(h.file)
		if err != nil {
			return nil, 0, fmt.Errorf("the host's resolvers: %w", err)
		}
		if !info.ModTime().Equal(h.changed) || h.read.IsZero() {
			c, err := dns.ClientConfigFromFile(h.file)
			if err != nil {
				return nil, 0, fmt.Errorf("the host's resolvers: %w", err)
			}
			h.servers = nil
			for _, s := range c.Servers {
				h.servers = append(h.servers, net.JoinHostPort(s, c.Port))
			}
			h.timeout, h.changed = min(time.Duration(c.Timeout)*time.Second, 5*time.Second), info.ModTime()
		}
		h.read = time.Now()
	}
	if len(h.servers) == 0 {
		return nil, 0, fmt.Errorf("%s names no resolver", h.file)
	}
	return h.servers, h.timeout, nil
}

// ResolvConf gives the content of a workload's /etc/resolv.conf: a resolver
// whose port 53 is redirected to the Server, and Kubernetes' search rules.
func ResolvConf(server, namespace, domain string) string {
	text := "nameserver " + server + "\nsearch"
	for _, s := range SearchPath(namespace, domain) {
		text += " " + s
	}
	return text + "\noptions ndots:5\n"
}
