package supervise

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// defaultPath is the PATH of programs whose manifest sets none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environ is a container's environment while it is put together.
type environ struct {
	pod     *PodSpec
	addr    netip.Addr
	sources Sources
	names   []string
	values  map[string]string
}

// environment gives the variables of a container, in the order of kubelet:
// those of envFrom, then those of env, each of which may use the ones before it.
func environment(c *corev1.Container, pod *PodSpec, addr netip.Addr, sources Sources) (*environ, error) {
	e := &environ{pod: pod, addr: addr, sources: sources, values: map[string]string{}}
	e.set("PATH", defaultPath)
	e.set("HOSTNAME", pod.Name)
	e.set("HOME", "/")
	for i := range c.EnvFrom {
		if err := e.from(&c.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		v := &c.Env[i]
		value := e.expand(v.Value)
		if v.ValueFrom != nil {
			found := false
			var err error
			if value, found, err = e.valueFrom(v.ValueFrom); err != nil {
				return nil, fmt.Errorf("environment variable %s: %w", v.Name, err)
			}
			if !found {
				continue // optional and absent
			}
		}
		e.set(v.Name, value)
	}
	return e, nil
}

func (e *environ) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environ) list() []string {
	out := make([]string, len(e.names))
	for i, n := range e.names {
		out[i] = n + "=" + e.values[n]
	}
	return out
}

// expand replaces $(NAME) by the variable's value; $$ is a dollar sign; what is
// not known stays as it is (the rules of corev1.EnvVar).
func (e *environ) expand(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		end := strings.IndexByte(s, ')')
		switch {
		case s[1] == '$':
			b.WriteByte('$')
			s = s[2:]
		case s[1] == '(' && end > 0:
			if v, ok := e.values[s[2:end]]; ok {
				b.WriteString(v)
			} else {
				b.WriteString(s[:end+1])
			}
			s = s[end+1:]
		default:
			b.WriteByte('$')
			s = s[1:]
		}
	}
}

func (e *environ) from(f *corev1.EnvFromSource) error {
	values := map[string]string{}
	switch {
	case f.ConfigMapRef != nil:
		m, ok := e.sources.ConfigMap(e.pod.Namespace, f.ConfigMapRef.Name)
		if !ok {
			return absent(f.ConfigMapRef.Optional, "ConfigMap", f.ConfigMapRef.Name)
		}
		values = m.Data
	case f.SecretRef != nil:
		s, ok := e.sources.Secret(e.pod.Namespace, f.SecretRef.Name)
		if !ok {
			return absent(f.SecretRef.Optional, "Secret", f.SecretRef.Name)
		}
		values = secretData(s)
	}
	names := make([]string, 0, len(values))
	for n := range values {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		e.set(f.Prefix+n, values[n])
	}
	return nil
}

func absent(optional *bool, kind, name string) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q does not exist", kind, name)
}

func secretData(s *corev1.Secret) map[string]string {
	out := map[string]string{}
	for k, v := range s.Data {
		out[k] = string(v)
	}
	for k, v := range s.StringData {
		out[k] = v
	}
	return out
}

func (e *environ) valueFrom(s *corev1.EnvVarSource) (value string, found bool, err error) {
	var data map[string]string
	var key string
	var optional *bool
	var what string
	switch {
	case s.FieldRef != nil:
		value, err = e.field(s.FieldRef.FieldPath)
		return value, true, err
	case s.ConfigMapKeyRef != nil:
		r := s.ConfigMapKeyRef
		key, optional, what = r.Key, r.Optional, "ConfigMap "+strconv.Quote(r.Name)
		if m, ok := e.sources.ConfigMap(e.pod.Namespace, r.Name); ok {
			data = m.Data
		}
	case s.SecretKeyRef != nil:
		r := s.SecretKeyRef
		key, optional, what = r.Key, r.Optional, "Secret "+strconv.Quote(r.Name)
		if m, ok := e.sources.Secret(e.pod.Namespace, r.Name); ok {
			data = secretData(m)
		}
	default:
		return "", false, fmt.Errorf("its source is not supported on one machine")
	}
	if value, found = data[key]; found || optional != nil && *optional {
		return value, found, nil
	}
	return "", false, fmt.Errorf("%s has no key %q", what, key)
}

// field gives a field of the downward API.
func (e *environ) field(path string) (string, error) {
	p := e.pod
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return p.UID, nil
	case "spec.serviceAccountName":
		return p.ServiceAccount, nil
	case "spec.nodeName":
		return NodeName, nil
	case "status.podIP", "status.podIPs":
		return e.addr.String(), nil
	case "status.hostIP", "status.hostIPs":
		return "127.0.0.1", nil
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels": p.Labels, "metadata.annotations": p.Annotations} {
		if rest, ok := strings.CutPrefix(path, prefix+"['"); ok {
			if key, ok := strings.CutSuffix(rest, "']"); ok {
				return values[key], nil
			}
		}
	}
	return "", fmt.Errorf("the field %q does not exist", path)
}

// NodeName is the name of the one node of a mesh on one machine.
const NodeName = "local"
