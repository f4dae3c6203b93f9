package configapi

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
	"os"
	"strconv"
	"syscall"
	"time"
)

// SocketName is the name of the API's socket in a mesh's runtime directory.
const SocketName = "api.sock"

// ErrNotRunning says that nobody serves the socket.
var ErrNotRunning = errors.New("no mesh is running here")

// Client speaks to a configuration API over its Unix socket. It is safe for
// concurrent use and holds no connection open between calls.
type Client struct{ http *http.Client }

// NewClient returns a client of the API at the socket. Nothing is dialled yet.
func NewClient(socket string) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
				return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
			}
			return conn, err
		},
	}}}
}

// NewClientOver returns a client of an API that is reached over a transport.
func NewClientOver(t http.RoundTripper) *Client { return &Client{http: &http.Client{Transport: t}} }

// Query selects objects; empty fields select all.
type Query struct{ Kind, Namespace, Name, Selector string }

func (q Query) values() url.Values {
	return values("kind", q.Kind, "namespace", q.Namespace, "name", q.Name, "selector", q.Selector)
}

func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

// ChangeOptions narrow a change.
type ChangeOptions struct {
	// Namespace is for objects that name none; with it, objects of other
	// namespaces are refused.
	Namespace string
	DryRun    bool
}

func (o ChangeOptions) values() url.Values {
	v := values("namespace", o.Namespace)
	if o.DryRun {
		v.Set("dryRun", "true")
	}
	return v
}

// Apply applies all objects of the files or, with an *Error, none.
func (c *Client) Apply(ctx context.Context, files []File, o ChangeOptions) (Changes, error) {
	return call[Changes](ctx, c, http.MethodPost, "/v1/apply", o.values(), Request{Files: files})
}

// DeleteFiles deletes the objects that the files name.
func (c *Client) DeleteFiles(ctx context.Context, files []File, o ChangeOptions) (Changes, error) {
	return call[Changes](ctx, c, http.MethodPost, "/v1/delete", o.values(), Request{Files: files})
}

// Delete deletes the selected objects; a kind is required.
func (c *Client) Delete(ctx context.Context, q Query, dryRun bool) (Changes, error) {
	v := q.values()
	if dryRun {
		v.Set("dryRun", "true")
	}
	return call[Changes](ctx, c, http.MethodDelete, "/v1/objects", v, nil)
}

// Objects lists the selected objects. A kind and name of an object that does not
// exist are an *Error with status 404.
func (c *Client) Objects(ctx context.Context, q Query) (ObjectList, error) {
	return call[ObjectList](ctx, c, http.MethodGet, "/v1/objects", q.values(), nil)
}

// Status lists the verdicts on the selected objects.
func (c *Client) Status(ctx context.Context, q Query) (StatusList, error) {
	return call[StatusList](ctx, c, http.MethodGet, "/v1/status", q.values(), nil)
}

// Wait waits until every proxy has the revision in force, has refused it, or the
// timeout has passed; the report says which.
func (c *Client) Wait(ctx context.Context, revision int64, timeout time.Duration) (Report, error) {
	return call[Report](ctx, c, http.MethodGet, "/v1/wait", values("revision", strconv.FormatInt(revision, 10), "timeout", timeout.String()), nil)
}

func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (answer T, err error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lateen"+path+"?"+query.Encode(), reader)
	if err != nil {
		return answer, err
	}
	if body != nil {
		req.Header.Set("Content-Type", FilesType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer, fmt.Errorf("calling the configuration API: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer, fmt.Errorf("reading the answer of the configuration API: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e Error
		if err := json.Unmarshal(text, &e.Failure); err != nil || len(e.Problems) == 0 {
			return answer, fmt.Errorf("the configuration API answered %s", resp.Status)
		}
		return answer, &e
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("reading the answer of the configuration API: %w", err)
	}
	return answer, nil
}

// Listen makes the API's socket, readable and writable by its owner only. A
// socket that a dead process left behind is replaced; one that is served is an
// error.
func Listen(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		conn, dialErr := net.Dial("unix", path)
		if dialErr == nil {
			conn.Close()
			return nil, fmt.Errorf("the socket %s is served by another process", path)
		}
		if rmErr := os.Remove(path); rmErr != nil {
			return nil, fmt.Errorf("removing a stale socket: %w", rmErr)
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
