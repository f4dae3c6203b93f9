package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// adminClient calls Envoy's admin interface.
type adminClient struct{ http *http.Client }

func newAdminClient(addr string) (*adminClient, error) {
	network, target := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		network, target = "unix", path
	} else if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	return &adminClient{&http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, target)
		}},
	}}, nil
}

// call returns the body of a successful answer.
func (c *adminClient) call(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("envoy's admin interface: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("envoy's admin interface: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("envoy answers %s to %s: %s", resp.Status, path, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

// ready is nil when the Envoy serves: its listeners have come and are warm.
func (c *adminClient) ready(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodGet, "/ready")
	return err
}

// drain makes the Envoy end connections gently. Without stays, it takes no new ones
// after its drain time; inbound leaves the outbound ones alone.
func (c *adminClient) drain(ctx context.Context, inbound, stays bool) error {
	path := "/drain_listeners?graceful"
	if inbound {
		path += "&inboundonly"
	}
	if stays {
		path += "&skip_exit"
	}
	_, err := c.call(ctx, http.MethodPost, path)
	return err
}

// stop makes the Envoy take no new connections.
func (c *adminClient) stop(ctx context.Context, inbound bool) error {
	path := "/drain_listeners"
	if inbound {
		path += "?inboundonly"
	}
	_, err := c.call(ctx, http.MethodPost, path)
	return err
}

// active counts the connections that clients have open, admin's aside.
func (c *adminClient) active(ctx context.Context) (int, error) {
	text, err := c.call(ctx, http.MethodGet, "/stats?filter="+`^listener\..*\.downstream_cx_active$`)
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(name, "listener.admin.") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("envoy's statistics: %s: %w", name, err)
		}
		total += n
	}
	return total, nil
}
