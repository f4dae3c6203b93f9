package match

import (
	"fmt"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// reason says why a policy matched or did not.
func (f *accessFacts) reason(p *config.AccessPolicy, ok bool) string {
	switch {
	case ok:
		return "it is the first policy that matches"
	case !f.holds(&p.Permissions):
		return "it is about other requests: " + DescribeCondition(&p.Permissions)
	}
	return "it is about other clients: " + DescribeCondition(&p.Principals)
}

// DescribeCondition puts a condition into words: `(method is "GET" and path begins
// with "/a")`.
func DescribeCondition(c *config.Condition) string {
	switch c.Kind {
	case config.CondAlways:
		return "anything"
	case config.CondAll:
		return describeParts(c.Parts, " and ")
	case config.CondAny:
		return describeParts(c.Parts, " or ")
	case config.CondNot:
		return "not " + DescribeCondition(&c.Parts[0])
	case config.CondHeader:
		return "header " + describeHeader(c.Header)
	case config.CondPath:
		return describeString("path", c.Text, false)
	case config.CondServerName:
		return describeString("server name", c.Text, false)
	case config.CondPeer:
		return describeString("peer", c.Text, false)
	case config.CondPrincipal:
		if c.Text == nil {
			return "client over TLS"
		}
		return describeString("principal", c.Text, false)
	case config.CondMetadata:
		return describeMetadata(c.Metadata)
	}
	return describeAddress(c)
}

func describeParts(parts []config.Condition, and string) string {
	list := make([]string, len(parts))
	for i := range parts {
		list[i] = DescribeCondition(&parts[i])
	}
	return "(" + strings.Join(list, and) + ")"
}

func describeAddress(c *config.Condition) string {
	switch c.Kind {
	case config.CondDestIP:
		return "destination in " + c.Prefix.String()
	case config.CondDestPort:
		if c.PortLo+1 == c.PortHi {
			return fmt.Sprintf("destination port %d", c.PortLo)
		}
		return fmt.Sprintf("destination port in [%d, %d)", c.PortLo, c.PortHi)
	case config.CondSourceIP:
		return "source in " + c.Prefix.String()
	case config.CondDirectIP:
		return "direct peer in " + c.Prefix.String()
	case config.CondRemoteIP:
		return "client in " + c.Prefix.String()
	}
	return fmt.Sprintf("condition of kind %d", c.Kind)
}

func describeMetadata(m *config.MetadataMatch) string {
	name := "metadata " + strings.Join(append([]string{m.Filter}, m.Path...), ".")
	text := name + " " + describeValue(&m.Value)
	if m.Invert {
		return "not " + text
	}
	return text
}

func describeValue(m *config.ValueMatch) string {
	switch m.Kind {
	case config.ValuePresent:
		return map[bool]string{true: "is present", false: "is never so"}[m.Bool]
	case config.ValueNull:
		return "is null"
	case config.ValueNumber:
		if m.Lo == m.Hi {
			return fmt.Sprintf("is %v", m.Lo)
		}
		return fmt.Sprintf("is in [%v, %v)", m.Lo, m.Hi)
	case config.ValueText:
		return strings.TrimPrefix(describeString("", &m.Text, false), " ")
	case config.ValueBool:
		return fmt.Sprintf("is %v", m.Bool)
	case config.ValueList:
		return "has an element that " + describeValue(&m.Parts[0])
	}
	list := make([]string, len(m.Parts))
	for i := range m.Parts {
		list[i] = describeValue(&m.Parts[i])
	}
	return strings.Join(list, " or ")
}
