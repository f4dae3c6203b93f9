package dump

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"
)

// Print writes a message as indented JSON, or as YAML.
func Print(w io.Writer, m proto.Message, format string) error {
	text, err := marshal(m)
	if err != nil {
		return err
	}
	return write(w, text, format)
}

// PrintList writes messages as one JSON list, or as one of YAML.
func PrintList[T proto.Message](w io.Writer, list []T, format string) error {
	all := make([]json.RawMessage, 0, len(list))
	for _, m := range list {
		text, err := marshal(m)
		if err != nil {
			return err
		}
		all = append(all, text)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return write(w, text, format)
}

// PrintText writes JSON as indented JSON, or as YAML.
func PrintText(w io.Writer, text []byte, format string) error { return write(w, text, format) }

// marshal writes a message as JSON. What this program cannot decode stands with its
// type and an error in its place.
func marshal(m proto.Message) ([]byte, error) {
	text, err := protojson.Marshal(m)
	if err == nil {
		return text, nil
	}
	s, serr := structpb.NewStruct(map[string]any{"type": string(m.ProtoReflect().Descriptor().FullName()), "error": err.Error()})
	if serr != nil {
		return nil, err
	}
	return protojson.Marshal(s)
}

func write(w io.Writer, text []byte, format string) error {
	if format == "yaml" {
		text, err := yaml.JSONToYAML(text)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "    "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// WriteExtensions prints filters that are discovered by themselves.
func (c *Config) WriteExtensions(w io.Writer) error {
	var rows [][]string
	for _, x := range c.Extensions {
		rows = append(rows, []string{x.GetName(), x.GetTypedConfig().GetTypeUrl()})
	}
	return table(w, "ECDS NAME|TYPE", rows)
}

// secretsDump finds the part of a dump that holds secrets.
func secretsDump(text []byte) (*adminv3.SecretsConfigDump, error) {
	var d adminv3.ConfigDump
	if err := lenient.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("reading the configuration dump: %w", err)
	}
	out := &adminv3.SecretsConfigDump{}
	for _, section := range d.GetConfigs() {
		if section.MessageIs(out) {
			return out, section.UnmarshalTo(out)
		}
	}
	return out, nil
}

// PrintSecrets writes the secrets of a dump as JSON or YAML; their keys are not in
// the dump.
func PrintSecrets(w io.Writer, text []byte, format string) error {
	d, err := secretsDump(text)
	if err != nil {
		return err
	}
	return Print(w, d, format)
}
