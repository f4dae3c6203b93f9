package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A command in a workload runs with the caller's own descriptors: terminals,
// pipes and files work as they do outside. The client upgrades the connection
// ("101 Switching Protocols", protocol lateen-exec), then sends one byte that
// carries its three descriptors. From then on both sides send JSON lines: the
// client signals, the server the end. A connection that breaks kills the command.
const execProtocol = "lateen-exec"

type execSignal struct {
	Signal int `json:"signal"`
}

type execEnd struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"` // why the command did not start
}

func (s *server) execute(w http.ResponseWriter, r *http.Request) {
	var c Command
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&c); err != nil || len(c.Args) == 0 {
		http.Error(w, "the body is not a command", http.StatusBadRequest)
		return
	}
	if r.Header.Get("Upgrade") != execProtocol {
		http.Error(w, "the request must upgrade to "+execProtocol, http.StatusUpgradeRequired)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.fail(w, err)
		return
	}
	defer conn.Close()
	if err := s.executeOn(conn.(*net.UnixConn), target(r), c); err != nil {
		s.log.Debug("control: exec", "error", err)
	}
}

func (s *server) executeOn(conn *net.UnixConn, t Target, c Command) error {
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + execProtocol + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	files, err := receiveFiles(conn, 3)
	if err != nil {
		return err
	}
	running, err := s.mesh.Exec(t, c, files[0], files[1], files[2])
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		return json.NewEncoder(conn).Encode(execEnd{Error: err.Error()})
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		d := json.NewDecoder(conn)
		for {
			var m execSignal
			if d.Decode(&m) != nil {
				return
			}
			if err := running.Signal(m.Signal); err != nil {
				s.log.Debug("control: signal not delivered", "error", err)
			}
		}
	}()
	select {
	case <-running.Done():
	case <-lost:
		return errors.Join(errors.New("the caller is gone"), running.Signal(int(unix.SIGKILL)))
	}
	end := execEnd{}
	if end.Code, err = running.Result(); err != nil {
		end.Error = err.Error()
	}
	err = json.NewEncoder(conn).Encode(end)
	conn.Close()
	<-lost
	return err
}

// receiveFiles reads one byte and the n descriptors that come with it.
func receiveFiles(conn *net.UnixConn, n int) ([]*os.File, error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(n*4))
	_, on, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "stdio"))
		}
	}
	if len(files) != n {
		for _, f := range files {
			f.Close()
		}
		return nil, fmt.Errorf("%d descriptors came, want %d", len(files), n)
	}
	return files, nil
}

// Exec runs a command in a workload with the given descriptors and returns its
// exit code. Signals that arrive are passed on.
func (c *Client) Exec(ctx context.Context, t Target, cmd Command, in, out, errs *os.File, signals <-chan os.Signal) (int, error) {
	body, err := json.Marshal(cmd)
	if err != nil {
		return 0, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	q := url.Values{"namespace": {t.Namespace}, "name": {t.Name}, "container": {t.Container}}
	req := fmt.Sprintf("POST /v1/exec?%s HTTP/1.1\r\nHost: mesh\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: %d\r\n\r\n%s", q.Encode(), execProtocol, len(body), body)
	if _, err := io.WriteString(conn, req); err != nil {
		return 0, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return 0, answerError(resp)
	}
	rights := unix.UnixRights(int(in.Fd()), int(out.Fd()), int(errs.Fd()))
	if _, _, err := conn.WriteMsgUnix([]byte{0}, rights, nil); err != nil {
		return 0, fmt.Errorf("exec: passing descriptors: %w", err)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		w := json.NewEncoder(conn)
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if n, ok := s.(syscall.Signal); ok {
					_ = w.Encode(execSignal{int(n)}) // a broken connection ends the command anyhow
				}
			}
		}
	}()
	var end execEnd
	if err := json.NewDecoder(r).Decode(&end); err != nil {
		return 0, fmt.Errorf("exec: the mesh went away: %w", err)
	}
	if end.Error != "" {
		return 0, errors.New(end.Error)
	}
	return end.Code, nil
}
