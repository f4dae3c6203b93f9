package config

import (
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamlogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
)

// parseAccessLogs reads the access_log list of a listener or filter. Of a listener
// (unserved is true) it is the log of connections that no chain serves; Istio says
// the same with a filter on the flag NR, which is accepted there.
func parseAccessLogs(s *scope, list []*accesslogv3.AccessLog, unserved bool) ([]AccessLog, error) {
	var out []AccessLog
	for i, m := range list {
		at := s.item("access_log", i)
		if f := m.GetFilter(); f != nil {
			flags := f.GetResponseFlagFilter().GetFlags()
			if !unserved || !slices.Equal(flags, []string{"NR"}) {
				return nil, at.at("filter").unsupported()
			}
		}
		e, err := unwrap(at.at("typed_config"), m.GetTypedConfig())
		if err != nil {
			return nil, err
		}
		l, err := parseSink(at.at("typed_config"), e)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func parseSink(s *scope, e extension) (AccessLog, error) {
	switch e.short() {
	case "envoy.extensions.access_loggers.file.v3.FileAccessLog":
		m := &filelogv3.FileAccessLog{}
		if err := e.into(s, m); err != nil {
			return AccessLog{}, err
		}
		if m.GetPath() == "" {
			return AccessLog{}, s.at("path").errorf("is empty")
		}
		return parseFileLog(s, m)
	case "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog":
		m := &streamlogv3.StdoutAccessLog{}
		if err := e.into(s, m); err != nil {
			return AccessLog{}, err
		}
		return parseLogFormat(s.at("log_format"), "/dev/stdout", m.GetLogFormat())
	case "envoy.extensions.access_loggers.stream.v3.StderrAccessLog":
		m := &streamlogv3.StderrAccessLog{}
		if err := e.into(s, m); err != nil {
			return AccessLog{}, err
		}
		return parseLogFormat(s.at("log_format"), "/dev/stderr", m.GetLogFormat())
	}
	return AccessLog{}, s.errorf("access log %s is not supported by this proxy", e.short())
}

func parseFileLog(s *scope, m *filelogv3.FileAccessLog) (AccessLog, error) {
	switch f := m.GetAccessLogFormat().(type) {
	case *filelogv3.FileAccessLog_Format:
		return textLog(s.at("format"), m.GetPath(), f.Format)
	case *filelogv3.FileAccessLog_JsonFormat:
		return jsonLog(s.at("json_format"), m.GetPath(), f.JsonFormat)
	case *filelogv3.FileAccessLog_TypedJsonFormat:
		return jsonLog(s.at("typed_json_format"), m.GetPath(), f.TypedJsonFormat)
	}
	return parseLogFormat(s.at("log_format"), m.GetPath(), m.GetLogFormat())
}

func parseLogFormat(s *scope, path string, m *corev3.SubstitutionFormatString) (AccessLog, error) {
	switch f := m.GetFormat().(type) {
	case nil:
		return textLog(s, path, "")
	case *corev3.SubstitutionFormatString_TextFormat:
		return textLog(s.at("text_format"), path, f.TextFormat)
	case *corev3.SubstitutionFormatString_TextFormatSource:
		data, err := parseData(s.at("text_format_source"), f.TextFormatSource)
		if err != nil {
			return AccessLog{}, err
		}
		return textLog(s.at("text_format_source"), path, string(data))
	case *corev3.SubstitutionFormatString_JsonFormat:
		return jsonLog(s.at("json_format"), path, f.JsonFormat)
	}
	return AccessLog{}, s.unsupported()
}

func textLog(s *scope, path, text string) (AccessLog, error) {
	l := AccessLog{Path: path, Format: text}
	if text == "" {
		text = format.EnvoyDefault
	}
	var err error
	if l.Text, err = format.Parse(text); err != nil {
		return l, s.errorf("%w", err)
	}
	return l, nil
}

func jsonLog(s *scope, path string, m *structpb.Struct) (AccessLog, error) {
	l := AccessLog{Path: path, JSON: m.AsMap()}
	return l, checkFormats(s, l.JSON)
}

// checkFormats compiles every string of a JSON format, so that a bad operator is
// refused now.
func checkFormats(s *scope, v any) error {
	switch v := v.(type) {
	case string:
		if _, err := format.Parse(v); err != nil {
			return s.errorf("%w", err)
		}
	case map[string]any:
		for key, value := range v {
			if err := checkFormats(s.at(key), value); err != nil {
				return err
			}
		}
	case []any:
		for _, value := range v {
			if err := checkFormats(s, value); err != nil {
				return err
			}
		}
	}
	return nil
}
