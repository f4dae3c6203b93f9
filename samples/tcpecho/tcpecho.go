// Package tcpecho is the sample for TCP routing: it sends every line back with a
// prefix, by which a user sees which version answered.
package tcpecho

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
)

// Run serves until ctx ends. args are the ports, separated by commas ("9000,9001"),
// and the prefix ("one").
func Run(ctx context.Context, args []string, log *slog.Logger) error {
	if len(args) != 2 {
		return fmt.Errorf("tcp-echo wants two arguments, PORTS (9000,9001) and PREFIX; got %d", len(args))
	}
	var listeners []net.Listener
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, port := range strings.Split(args[0], ",") {
		l, err := net.Listen("tcp", net.JoinHostPort("", strings.TrimSpace(port)))
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		log.Info("serving", "address", l.Addr().String())
		wg.Go(func() { accept(ctx, l, args[1], log) })
	}
	<-ctx.Done()
	return nil
}

func accept(ctx context.Context, l net.Listener, prefix string, log *slog.Logger) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Warn("accepting", "error", err)
			continue
		}
		go echo(ctx, c, prefix)
	}
}

func echo(ctx context.Context, c net.Conn, prefix string) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			if _, werr := fmt.Fprintf(c, "%s %s", prefix, line); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
