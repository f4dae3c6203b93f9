package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Paths of the agent's socket.
const (
	pathDecide  = "/v1/decide"
	pathOutcome = "/v1/outcome"
)

// question asks about a pod that is starting.
type question struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// outcome reports what the plugin did.
type outcome struct {
	question
	Netns string `json:"netns"`
	Error string `json:"error,omitempty"`
}

// refusal is an answer other than a decision.
type refusal struct {
	Error string `json:"error"`
}

// errNoDecision tells that nobody answers at the socket, or that the agent cannot
// know now.
var errNoDecision = errors.New("the node's agent does not decide")

// agentClient speaks to the agent.
type agentClient struct{ http http.Client }

// dialAgent makes a client of the agent at the socket; nothing is connected yet.
func dialAgent(socket string, timeout time.Duration) *agentClient {
	return &agentClient{http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// decide asks what to do with a pod. The error wraps errNoDecision if there was no
// answer.
func (c *agentClient) decide(ctx context.Context, q question) (d Decision, err error) {
	return d, c.post(ctx, pathDecide, q, &d)
}

// report tells what was done.
func (c *agentClient) report(ctx context.Context, o outcome) error {
	return c.post(ctx, pathOutcome, o, nil)
}

func (c *agentClient) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoDecision, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoDecision, err)
	}
	if resp.StatusCode != http.StatusOK {
		var r refusal
		if json.Unmarshal(answer, &r) != nil || r.Error == "" {
			r.Error = resp.Status
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			return fmt.Errorf("%w: %s", errNoDecision, r.Error)
		}
		return fmt.Errorf("the node's agent: %s", r.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the node's agent answers what is not a decision: %w", err)
	}
	return nil
}

// maxMessage bounds what is read of a message of the other side.
const maxMessage = 1 << 20
