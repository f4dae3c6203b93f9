package probes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// prober is one rewritten probe, in the JSON of ISTIO_KUBE_APP_PROBERS: Kubernetes'
// names.
type prober struct {
	HTTPGet        *httpGet   `json:"httpGet,omitempty"`
	TCPSocket      *tcpSocket `json:"tcpSocket,omitempty"`
	GRPC           *grpcCheck `json:"grpc,omitempty"`
	TimeoutSeconds int        `json:"timeoutSeconds,omitempty"`

	port    uint16
	timeout time.Duration
}

type httpGet struct {
	Path    string   `json:"path,omitempty"`
	Port    portName `json:"port"`
	Host    string   `json:"host,omitempty"`
	Scheme  string   `json:"scheme,omitempty"`
	Headers []header `json:"httpHeaders,omitempty"`
}

type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type tcpSocket struct {
	Port portName `json:"port"`
	Host string   `json:"host,omitempty"`
}

type grpcCheck struct {
	Port    portName `json:"port"`
	Service string   `json:"service,omitempty"`
}

// portName is a port by number or by name (Kubernetes' IntOrString).
type portName string

// UnmarshalJSON reads a number or a string.
func (p *portName) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(p))
	}
	var n uint16
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*p = portName(strconv.Itoa(int(n)))
	return nil
}

// prefixes are those of the paths that the injector makes: of probes, and of
// lifecycle hooks that are HTTP requests.
var prefixes = []string{"/app-health/", "/app-lifecycle/"}

// parse reads the probers, by path. ports are the pod's ports by name.
func parse(text string, ports map[string]uint16) (map[string]*prober, error) {
	out := map[string]*prober{}
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("probes of the application: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(out)) {
		p := out[path]
		if !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
			return nil, fmt.Errorf("probes of the application: path %q begins with none of %s", path, strings.Join(prefixes, ", "))
		}
		if p == nil {
			return nil, fmt.Errorf("probes of the application: %s: no prober", path)
		}
		if err := p.complete(ports); err != nil {
			return nil, fmt.Errorf("probes of the application: %s: %w", path, err)
		}
	}
	return out, nil
}

func (p *prober) complete(ports map[string]uint16) (err error) {
	var name portName
	kinds := 0
	if h := p.HTTPGet; h != nil {
		kinds, name = kinds+1, h.Port
		if h.Scheme = strings.ToLower(h.Scheme); h.Scheme == "" {
			h.Scheme = "http"
		}
		if h.Scheme != "http" && h.Scheme != "https" {
			return fmt.Errorf("scheme %q is neither HTTP nor HTTPS", h.Scheme)
		}
	}
	if p.TCPSocket != nil {
		kinds, name = kinds+1, p.TCPSocket.Port
	}
	if p.GRPC != nil {
		kinds, name = kinds+1, p.GRPC.Port
	}
	if kinds != 1 {
		return errors.New("want exactly one of httpGet, tcpSocket and grpc")
	}
	// Kubernetes' default of one second; the agent answers before kubelet gives up.
	p.timeout = time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	if n, err := strconv.ParseUint(string(name), 10, 16); err == nil && n > 0 {
		p.port = uint16(n)
		return nil
	}
	var ok bool
	if p.port, ok = ports[string(name)]; !ok {
		return fmt.Errorf("no container port is called %q", name)
	}
	return nil
}

// parsePorts reads ISTIO_META_POD_PORTS: the ports of all containers.
func parsePorts(text string) (map[string]uint16, error) {
	out := map[string]uint16{}
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	var list []struct {
		Name          string `json:"name"`
		ContainerPort uint16 `json:"containerPort"`
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&list); err != nil {
		return nil, fmt.Errorf("ports of the pod: %w", err)
	}
	for _, p := range list {
		if p.Name != "" {
			out[p.Name] = p.ContainerPort
		}
	}
	return out, nil
}

// Options configure the probes.
type Options struct {
	// Probers is the JSON of ISTIO_KUBE_APP_PROBERS, Ports that of
	// ISTIO_META_POD_PORTS; "": none.
	Probers, Ports string
	// PodIP is where the application is asked, as kubelet would ask it.
	PodIP netip.Addr
}

// Source is where probes come from: what comes from there goes to the application and
// not to the proxy again, like the proxy's own calls to it.
func Source(pod netip.Addr) net.Addr {
	if pod.Is4() {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}
	}
	return &net.TCPAddr{IP: net.ParseIP("::6")}
}

// New makes the handler of the paths below /app-health/ and /app-lifecycle/. Paths
// that no prober is for are not found.
func New(o Options) (http.Handler, error) {
	ports, err := parsePorts(o.Ports)
	if err != nil {
		return nil, err
	}
	all, err := parse(o.Probers, ports)
	if err != nil {
		return nil, err
	}
	return &handler{all, asker{pod: o.PodIP, dialer: net.Dialer{LocalAddr: Source(o.PodIP)}}}, nil
}

type handler struct {
	probers map[string]*prober
	asker   asker
}

// ServeHTTP answers one probe.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := h.probers[r.URL.Path]
	if p == nil {
		http.NotFound(w, r)
		return
	}
	code, text := h.asker.ask(r, p)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(text) // kubelet's departure is its own affair
}
