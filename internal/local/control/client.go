package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

// Client speaks to a mesh.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient speaks to the mesh with this runtime directory.
func NewClient(runtimeDir string) *Client {
	c := &Client{socket: filepath.Join(runtimeDir, SocketName)}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}}
	return c
}

func (c *Client) dial(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// Info tells where the mesh is reached.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	err = c.get(ctx, "/v1/info", &i)
	return i, err
}

// Pods lists what runs.
func (c *Client) Pods(ctx context.Context) (list []supervise.Status, err error) {
	err = c.get(ctx, "/v1/pods", &list)
	return list, err
}

// Down asks the mesh to end.
func (c *Client) Down(ctx context.Context) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/down")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Logs writes a container's output to w.
func (c *Client) Logs(ctx context.Context, t Target, o LogOptions, w io.Writer) error {
	q := url.Values{"namespace": {t.Namespace}, "name": {t.Name}, "container": {t.Container}, "tail": {strconv.Itoa(o.Tail)}}
	if o.Follow {
		q.Set("follow", "true")
	}
	resp, err := c.do(ctx, http.MethodGet, "/v1/logs?"+q.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	resp, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(v)
}

func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://mesh"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, ErrNotRunning) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("asking the mesh: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, answerError(resp)
	}
	return resp, nil
}

// answerError is the text of an answer that is none of success.
func answerError(resp *http.Response) error {
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || len(text) == 0 {
		return errors.Join(errors.New("the mesh answers "+resp.Status), err)
	}
	return errors.New(string(bytes.TrimSpace(text)))
}
