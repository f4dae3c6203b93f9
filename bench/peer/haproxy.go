package peer

import (
	"bytes"
	"fmt"
	"text/template"

	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/proc"
)

// view is what the templates of configuration files see.
type view struct {
	credentials
	Dir                      string
	Listen, Secure, Upstream string // addresses; "" for none
	TLS                      bool   // to the upstream
	Inbound                  bool
	TCP, H2, GRPC, Log       bool
	Threads                  int
	Host, ServerName         string
	LogPath                  string
}

func (s *Site) view(one side) (view, error) {
	c, err := s.credentials(one)
	v := view{
		credentials: c, Dir: one.dir, Upstream: one.upstream.String(), TLS: one.tls(), Inbound: one.side == mesh.Inbound, TCP: one.plan.Protocol == mesh.TCP,
		H2: one.plan.Protocol == mesh.HTTP2 || one.plan.Protocol == mesh.GRPC, GRPC: one.plan.Protocol == mesh.GRPC, Log: one.plan.Log,
		Threads: one.plan.Concurrency, Host: Host, ServerName: mesh.ServerName, LogPath: one.logPath(),
	}
	if one.listen.IsValid() {
		v.Listen = one.listen.String()
	}
	if one.secure.IsValid() {
		v.Secure = one.secure.String()
	}
	return v, err
}

// Cert and the others give templates the files.
func (v view) Cert() string   { return v.cert }
func (v view) Key() string    { return v.key }
func (v view) Roots() string  { return v.roots }
func (v view) Bundle() string { return v.bundle }

// startFile starts a proxy that reads a configuration file made by a template.
func (s *Site) startFile(one side, kind string, t *template.Template, args func(path string) []string) (*proc.Process, string, error) {
	v, err := s.view(one)
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, "", fmt.Errorf("%s: %w", t.Name(), err)
	}
	path, err := one.write(t.Name(), b.String())
	if err != nil {
		return nil, "", err
	}
	p, err := proc.Start(proc.Spec{Name: kind, Cores: one.plan.Cores, Args: args(path), Log: one.dir + "/log"})
	if err != nil {
		return nil, "", err
	}
	if err := one.ready(p); err != nil {
		p.Stop()
		return nil, "", err
	}
	return p, "", nil
}

var haproxyFile = template.Must(template.New("haproxy.cfg").Parse(`global
  nbthread {{.Threads}}
  maxconn 11000
  no strict-limits
  stats socket {{.Dir}}/admin.sock mode 600
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-bind-curves X25519:P-256
{{if .Log}}  log stdout format raw local0
{{end}}defaults
  mode {{if .TCP}}tcp{{else}}http{{end}}
  timeout connect 10s
  timeout client 1h
  timeout server 1h
{{if .Log}}  log global
  {{if .TCP}}option tcplog{{else}}option httplog{{end}}
{{end}}frontend in
{{if .Listen}}  bind {{.Listen}}{{if .H2}} proto h2{{end}}
{{end}}{{if .Secure}}  bind {{.Secure}} ssl crt {{.Bundle}} ca-file {{.Roots}} verify required{{if .H2}} alpn h2{{else if not .TCP}} alpn http/1.1{{end}}
{{end}}{{if .TCP}}  default_backend application
{{else}}  acl method_allowed method GET POST
  acl path_allowed path_beg /healthz /
{{if .Secure}}  acl caller_allowed ssl_c_s_dn(cn) other productpage
{{if .Listen}}  acl caller_allowed src 127.0.0.0/8
{{end}}{{else}}  acl caller_allowed src 10.0.0.0/8 127.0.0.0/8
{{end}}{{if .Inbound}}  http-request deny unless method_allowed path_allowed caller_allowed
{{end}}  http-request return status 200 content-type text/plain string "answered by the proxy" if { path /answer }
  http-request set-header x-request-id %[uuid()] unless { req.hdr(x-request-id) -m found }
  http-request set-header x-forwarded-proto http
{{if .Secure}}  http-request set-header x-forwarded-client-cert %[ssl_c_s_dn(cn)]
{{end}}  acl ratings hdr(host) -i ratings.default.svc.cluster.local ratings ratings.default
  acl reviews hdr(host) -i {{.Host}} reviews reviews.default
  acl jason hdr(end-user) jason
  acl api path_beg /api/
  use_backend none if ratings
  use_backend application if reviews jason
  use_backend application if reviews api
  use_backend application if reviews
  default_backend none
backend none
  http-request deny deny_status 502
{{end}}backend application
{{if not .TCP}}  http-reuse always
{{end}}  server s {{.Upstream}}{{if .TLS}} ssl crt {{.Bundle}} ca-file {{.Roots}} verify required verifyhost {{.ServerName}} sni str({{.ServerName}}){{if .H2}} alpn h2{{else if not .TCP}} alpn http/1.1{{end}}{{else if .H2}} proto h2{{end}}
`))

func startHAProxy(s *Site, one side) (*proc.Process, string, error) {
	return s.startFile(one, HAProxy, haproxyFile, func(path string) []string { return []string{s.Programs[HAProxy], "-db", "-f", path} })
}
