// Command addresses does what a cloud's load balancer controller does for
// addresses: every Service of type LoadBalancer gets one of a range, in its status;
// kube-proxy does the rest. It lists and watches with plain HTTP.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// service is what we read of a Service.
type service struct {
	Metadata struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		Version   string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		Type  string  `json:"type"`
		Class *string `json:"loadBalancerClass"`
	} `json:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []struct {
				IP string `json:"ip"`
			} `json:"ingress"`
		} `json:"loadBalancer"`
	} `json:"status"`
}

func (s *service) key() string { return s.Metadata.Namespace + "/" + s.Metadata.Name }

// pool gives addresses of a range to Services.
type pool struct {
	server string
	client *http.Client
	cidr   netip.Prefix
	used   map[string]string // address by Service
}

func main() {
	server := flag.String("server", "", "URL of the API server")
	cidr := flag.String("cidr", "", "range of the addresses")
	ca, cert, key := flag.String("ca", "", "CA of the API server"), flag.String("cert", "", "client certificate"), flag.String("key", "", "its key")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := newClient(*ca, *cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	prefix, err := netip.ParsePrefix(*cidr)
	if err != nil {
		log.Fatal(err)
	}
	p := &pool{server: *server, client: client, cidr: prefix}
	for ctx.Err() == nil {
		if err := p.follow(ctx); err != nil && ctx.Err() == nil {
			log.Print(err)
			time.Sleep(500 * time.Millisecond)
		}
	}
}

func newClient(ca, cert, key string) (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}}, nil
}

// follow lists all Services and watches them until the connection ends.
func (p *pool) follow(ctx context.Context) error {
	var list struct {
		Metadata struct {
			Version string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []service `json:"items"`
	}
	body, err := p.do(ctx, http.MethodGet, "/api/v1/services", nil)
	if err != nil {
		return err
	}
	err = json.NewDecoder(body).Decode(&list)
	body.Close()
	if err != nil {
		return err
	}
	p.used = map[string]string{}
	for i := range list.Items {
		p.note(&list.Items[i])
	}
	for i := range list.Items {
		if err := p.give(ctx, &list.Items[i]); err != nil {
			return err
		}
	}
	body, err = p.do(ctx, http.MethodGet, "/api/v1/services?watch=1&timeoutSeconds=300&resourceVersion="+list.Metadata.Version, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	events := json.NewDecoder(body)
	for {
		var e struct {
			Type   string  `json:"type"`
			Object service `json:"object"`
		}
		if err := events.Decode(&e); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		switch e.Type {
		case "DELETED":
			delete(p.used, e.Object.key())
		case "ADDED", "MODIFIED":
			p.note(&e.Object)
			if err := p.give(ctx, &e.Object); err != nil {
				return err
			}
		default:
			return fmt.Errorf("watching: event %s", e.Type)
		}
	}
}

func (p *pool) note(s *service) {
	if in := s.Status.LoadBalancer.Ingress; len(in) > 0 {
		p.used[s.key()] = in[0].IP
	}
}

// give writes an address into the status of a Service that wants one.
func (p *pool) give(ctx context.Context, s *service) error {
	if s.Spec.Type != "LoadBalancer" || s.Spec.Class != nil || len(s.Status.LoadBalancer.Ingress) > 0 {
		return nil
	}
	address, err := p.free()
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"status":{"loadBalancer":{"ingress":[{"ip":%q}]}}}`, address)
	body, err := p.do(ctx, http.MethodPatch, "/api/v1/namespaces/"+s.Metadata.Namespace+"/services/"+s.Metadata.Name+"/status", patch)
	if err != nil {
		return err
	}
	body.Close()
	p.used[s.key()] = address
	log.Printf("%s has %s", s.key(), address)
	return nil
}

func (p *pool) free() (string, error) {
	taken := map[string]bool{}
	for _, a := range p.used {
		taken[a] = true
	}
	a := p.cidr.Addr()
	for range 10 { // the first ones are left to tests that want a fixed address
		a = a.Next()
	}
	for ; p.cidr.Contains(a.Next()); a = a.Next() {
		if !taken[a.String()] {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("no address of %s is free", p.cidr)
}

func (p *pool) do(ctx context.Context, method, path string, patch []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.server+path, bytes.NewReader(patch))
	if err != nil {
		return nil, err
	}
	if patch != nil {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound && method == http.MethodPatch {
			return io.NopCloser(bytes.NewReader(nil)), nil // deleted meanwhile
		}
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return resp.Body, nil
}
