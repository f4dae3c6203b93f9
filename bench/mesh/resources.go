package mesh

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"text/template"
)

// Resource is a named xDS resource in proto JSON.
type Resource struct{ Name, JSON string }

// Side is the place of a proxy.
type Side string

const (
	// Inbound takes from clients, in plain text or over the mesh's TLS, and gives
	// to the application.
	Inbound Side = "inbound"
	// Outbound takes from the application and gives to an inbound proxy over TLS.
	Outbound Side = "outbound"
)

// Protocol is what the client and the application speak.
type Protocol string

const (
	HTTP1 Protocol = "http1"
	HTTP2 Protocol = "http2"
	GRPC  Protocol = "grpc"
	TCP   Protocol = "tcp"
)

// Config is all that decides a proxy's resources. Istio adds the filters that
// only exist in Istio's proxies and in lateen-proxy.
type Config struct {
	Side     Side
	Protocol Protocol
	Istio    bool
	RBAC     bool
	LogPath  string         // "" writes no access log
	Listen   netip.AddrPort // of the client side: plain text
	TLS      netip.AddrPort // of the inbound side's mTLS; zero for none
	Upstream netip.AddrPort // the application, or the inbound proxy
	// Client and Server are the service accounts of the two ends.
	Client, Server string
}

//go:embed templates/*.json
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"json": quote, "spiffe": SPIFFE}).ParseFS(files, "templates/*.json"))

func quote(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// istioFormat is Istio's default text format of access logs.
const istioFormat = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% " +
	"%CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% " +
	"\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% " +
	"%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"

// view is what the templates see.
type view struct {
	Config
	Format string
	HTTP   bool
	H2     bool // the application speaks HTTP/2
	Secure bool // this listener's, or this cluster's, TLS
	Port   netip.AddrPort
	Name   string
}

// Build makes the resources of a proxy, without its secrets.
func (c Config) Build() ([]Resource, error) {
	v := view{Config: c, Format: istioFormat, HTTP: c.Protocol != TCP, H2: c.Protocol == HTTP2 || c.Protocol == GRPC}
	var out []Resource
	add := func(name, file string, v view) error {
		v.Name = name
		var b bytes.Buffer
		if err := templates.ExecuteTemplate(&b, file, v); err != nil {
			return fmt.Errorf("template %s: %w", file, err)
		}
		out = append(out, Resource{Name: name, JSON: b.String()})
		return nil
	}
	cluster, listener := v, v
	cluster.Port, cluster.Secure = c.Upstream, c.Side == Outbound
	if err := add("application", "cluster.json", cluster); err != nil {
		return nil, err
	}
	if v.HTTP {
		if err := add("routes", "routes.json", v); err != nil {
			return nil, err
		}
	}
	if c.Listen.IsValid() {
		listener.Port = c.Listen
		if err := add("plain", "listener.json", listener); err != nil {
			return nil, err
		}
	}
	if c.TLS.IsValid() {
		listener.Port, listener.Secure = c.TLS, true
		if err := add("secure", "listener.json", listener); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Secrets are a proxy's certificate and the roots, for a proxy that has no other
// way to its identity.
func Secrets(p Pair, roots []byte) ([]Resource, error) {
	const kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	cert, err := quote(map[string]any{"@type": kind, "name": "default", "tls_certificate": map[string]any{
		"certificate_chain": map[string]any{"inline_string": string(p.Cert)}, "private_key": map[string]any{"inline_string": string(p.Key)},
	}})
	if err != nil {
		return nil, err
	}
	root, err := quote(map[string]any{"@type": kind, "name": "ROOTCA", "validation_context": map[string]any{
		"trusted_ca": map[string]any{"inline_string": string(roots)},
	}})
	return []Resource{{"default", cert}, {"ROOTCA", root}}, err
}
