package validate

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (c *checker) workloadGroup(g *networking.WorkloadGroup) {
	if g.Template == nil {
		c.fail("spec.template", "a template is required")
	} else {
		c.workloadEntry("spec.template", g.Template, false)
	}
	c.labels("spec.metadata.labels", g.GetMetadata().GetLabels())
	c.readiness("spec.probe", g.Probe)
}

func (c *checker) readiness(path string, p *networking.ReadinessProbe) {
	if p == nil {
		return
	}
	c.nonNegative(path+".initialDelaySeconds", p.InitialDelaySeconds)
	c.nonNegative(path+".timeoutSeconds", p.TimeoutSeconds)
	c.nonNegative(path+".periodSeconds", p.PeriodSeconds)
	c.nonNegative(path+".successThreshold", p.SuccessThreshold)
	c.nonNegative(path+".failureThreshold", p.FailureThreshold)
	switch m := p.HealthCheckMethod.(type) {
	case nil:
		c.fail(path, "one of httpGet, tcpSocket, exec and grpc is required")
	case *networking.ReadinessProbe_HttpGet:
		h, hp := m.HttpGet, path+".httpGet"
		c.port(hp+".port", int64(h.Port))
		if h.Path != "" && !strings.HasPrefix(h.Path, "/") {
			c.fail(hp+".path", "the path %q does not begin with /", h.Path)
		}
		if h.Scheme != "" && h.Scheme != "HTTP" && h.Scheme != "HTTPS" {
			c.fail(hp+".scheme", "%q is not HTTP or HTTPS", h.Scheme)
		}
		for i, header := range h.HttpHeaders {
			if !plainHeader.MatchString(header.GetName()) {
				c.fail(at(hp+".httpHeaders", i)+".name", "%q is not a header name of letters, digits, '-' and '_'", header.GetName())
			}
			c.headerValue(at(hp+".httpHeaders", i)+".value", header.GetValue())
		}
	case *networking.ReadinessProbe_TcpSocket:
		c.port(path+".tcpSocket.port", int64(m.TcpSocket.Port))
	case *networking.ReadinessProbe_Grpc:
		c.port(path+".grpc.port", int64(m.Grpc.Port))
	case *networking.ReadinessProbe_Exec:
		if len(m.Exec.Command) == 0 {
			c.fail(path+".exec.command", "a command is required")
		}
		c.notEmpty(path+".exec.command", m.Exec.Command)
	}
}
