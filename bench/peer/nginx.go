package peer

import (
	"errors"
	"fmt"
	"os"
	"text/template"

	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/proc"
)

// streamModule is where Debian's package libnginx-mod-stream puts it.
const streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

var nginxFile = template.Must(template.New("nginx.conf").Parse(`daemon off;
worker_processes {{.Threads}};
{{if eq .Threads 1}}master_process off;
{{end}}{{if .TCP}}load_module ` + streamModule + `;
{{end}}pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/error.log error;
worker_rlimit_nofile 20000;
events { worker_connections 16000; }
{{if .TCP}}stream {
  access_log off;
  upstream application { server {{.Upstream}}; }
  server {
{{if .Listen}}    listen {{.Listen}};
{{end}}{{if .Secure}}    listen {{.Secure}} ssl;
    ssl_certificate {{.Cert}}; ssl_certificate_key {{.Key}}; ssl_client_certificate {{.Roots}}; ssl_verify_client on; ssl_protocols TLSv1.3;
{{end}}    proxy_pass application;
{{if .TLS}}    proxy_ssl on; proxy_ssl_certificate {{.Cert}}; proxy_ssl_certificate_key {{.Key}}; proxy_ssl_trusted_certificate {{.Roots}};
    proxy_ssl_verify on; proxy_ssl_name {{.ServerName}}; proxy_ssl_protocols TLSv1.3;
{{end}}  }
}
{{else}}http {
{{if .Log}}  access_log {{.LogPath}} combined buffer=64k flush=1s;
{{else}}  access_log off;
{{end}}  client_body_temp_path {{.Dir}}/body; proxy_temp_path {{.Dir}}/proxy; fastcgi_temp_path {{.Dir}}/f; uwsgi_temp_path {{.Dir}}/u; scgi_temp_path {{.Dir}}/s;
  keepalive_timeout 1h; keepalive_requests 1000000000; tcp_nodelay on;
{{if .H2}}  http2_max_concurrent_streams 1000;
{{end}}{{if .Secure}}  ssl_certificate {{.Cert}}; ssl_certificate_key {{.Key}}; ssl_client_certificate {{.Roots}}; ssl_verify_client on; ssl_protocols TLSv1.3;
  ssl_ecdh_curve X25519:prime256v1; ssl_session_cache shared:mesh:10m;
{{end}}  upstream application { server {{.Upstream}}; keepalive 1024; keepalive_requests 1000000000; keepalive_time 10h; }
  server {
    server_name _;
{{if .Listen}}    listen {{.Listen}} default_server;
{{end}}{{if .Secure}}    listen {{.Secure}} default_server;
{{end}}    return 502;
  }
  server {
    server_name {{.Host}} reviews reviews.default;
{{if .Listen}}    listen {{.Listen}} backlog=4096{{if .H2}} http2{{end}};
{{end}}{{if .Secure}}    listen {{.Secure}} ssl backlog=4096{{if .H2}} http2{{end}};
{{end}}    location = /answer { return 200 "answered by the proxy"; }
    location / {
{{if .Inbound}}      limit_except GET POST { deny all; }
{{if .Listen}}      allow 10.0.0.0/8; allow 127.0.0.0/8; deny all;
{{end}}{{end}}{{if .GRPC}}      grpc_pass grpc{{if .TLS}}s{{end}}://application;
      grpc_set_header Host $http_host; grpc_set_header X-Request-Id $request_id; grpc_set_header X-Forwarded-Proto http;
{{if .Secure}}      grpc_set_header X-Forwarded-Client-Cert $ssl_client_s_dn;
{{end}}{{if .TLS}}      grpc_ssl_certificate {{.Cert}}; grpc_ssl_certificate_key {{.Key}}; grpc_ssl_trusted_certificate {{.Roots}};
      grpc_ssl_verify on; grpc_ssl_name {{.ServerName}}; grpc_ssl_protocols TLSv1.3;
{{end}}{{else}}      proxy_pass http{{if .TLS}}s{{end}}://application;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_max_temp_file_size 0;
      proxy_set_header X-Request-Id $request_id; proxy_set_header X-Forwarded-Proto http;
{{if .Secure}}      proxy_set_header X-Forwarded-Client-Cert $ssl_client_s_dn;
{{end}}{{if .TLS}}      proxy_ssl_certificate {{.Cert}}; proxy_ssl_certificate_key {{.Key}}; proxy_ssl_trusted_certificate {{.Roots}};
      proxy_ssl_verify on; proxy_ssl_name {{.ServerName}}; proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;
{{end}}{{end}}    }
  }
}
{{end}}`))

func startNginx(s *Site, one side) (*proc.Process, string, error) {
	if _, err := os.Stat(streamModule); one.plan.Protocol == mesh.TCP && err != nil {
		return nil, "", fmt.Errorf("nginx's stream module is missing (%w): %w", err, errors.ErrUnsupported)
	}
	return s.startFile(one, Nginx, nginxFile, func(path string) []string { return []string{s.Programs[Nginx], "-c", path, "-p", one.dir} })
}
