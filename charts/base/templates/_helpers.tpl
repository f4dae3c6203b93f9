{{/* Defaults, profile, the user's values: see the chart istiod. */}}
{{- define "kinds.values" -}}
{{- if hasKey .Values "_internal_defaults_do_not_set" -}}
{{- $defaults := index .Values "_internal_defaults_do_not_set" -}}
{{- $given := omit .Values "_internal_defaults_do_not_set" -}}
{{- with $given.profile -}}
{{- $text := $.Files.Get (printf "files/profile-%s.yaml" .) -}}
{{- if not $text -}}
{{- fail (printf "unknown profile %q" .) -}}
{{- end -}}
{{- $defaults = mustMergeOverwrite $defaults ($text | fromYaml) -}}
{{- end -}}
{{- $merged := mustMergeOverwrite $defaults $given -}}
{{- range $k, $v := $merged -}}{{- $_ := set $.Values $k $v -}}{{- end -}}
{{- $_ := unset .Values "_internal_defaults_do_not_set" -}}
{{- end -}}
{{- end -}}
