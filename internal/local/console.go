package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"

	"github.com/lateen-mesh/lateen/internal/ops"
)

const (
	consolePort   = 20001
	consoleTries  = 20 // ports that are tried after it
	consoleSocket = "console.sock"
)

// listenConsole takes the console's port on the machine's loopback: the usual one, the
// next that is free, or any.
func (m *mesh) listenConsole() error {
	var err error
	if !m.o.AutoPorts {
		for port := consolePort; port < consolePort+consoleTries; port++ {
			if m.console, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
				continue
			}
			if port != consolePort {
				m.o.Progress(fmt.Sprintf("port %d is taken: the console is at %d", consolePort, port))
			}
			break
		}
	}
	if m.console == nil {
		if m.console, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("the console's port: %w", err)
		}
	}
	m.info.Console = fmt.Sprintf("http://localhost:%d", m.console.Addr().(*net.TCPAddr).Port)
	return nil
}

// relayConsole brings connections to the control plane's console until ctx ends. The
// control plane may be a process of its own, and a new one later; the port stays.
func (m *mesh) relayConsole(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { m.console.Close() })
	defer stop()
	var relays sync.WaitGroup
	defer relays.Wait()
	log := ops.Scope(m.log, "console")
	for {
		from, err := m.console.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the console's port: %w", err)
		}
		relays.Go(func() {
			if err := relay(ctx, from, filepath.Join(m.o.Dirs.Runtime, consoleSocket)); err != nil && ctx.Err() == nil {
				log.Debug("a connection to the console ended", "error", err)
			}
		})
	}
}

// relay copies both ways between a connection and a socket until both ends are done.
func relay(ctx context.Context, from net.Conn, socket string) error {
	defer from.Close()
	var d net.Dialer
	to, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		_, _ = io.WriteString(from, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nthe control plane does not answer; try again in a moment\n")
		return err
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { from.Close(); to.Close() })
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(to, from)
		ended <- errors.Join(err, to.(*net.UnixConn).CloseWrite())
	}()
	_, err = io.Copy(from, to)
	from.Close() // the server has said everything
	return errors.Join(err, <-ended)
}
