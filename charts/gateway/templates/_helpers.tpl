{{/* Defaults, profile, the user's values: see the chart istiod. */}}
{{- define "gateway.values" -}}
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

{{- define "gateway.name" -}}
{{- .Values.name | default .Release.Name -}}
{{- end -}}

{{- define "gateway.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "gateway.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* What Gateway objects and the Service select. */}}
{{- define "gateway.selector" -}}
app: {{ .Values.labels.app | default (include "gateway.name" .) | quote }}
istio: {{ .Values.labels.istio | default (include "gateway.name" . | trimPrefix "istio-") | quote }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
{{- range $k, $v := .Values.labels }}
{{- if not (has $k (list "app" "istio")) }}
{{ $k }}: {{ $v | quote }}
{{- end }}
{{- end }}
{{- with .Values.networkGateway }}
topology.istio.io/network: {{ . | quote }}
{{- end }}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ include "gateway.name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: lateen
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "gateway.annotations" -}}
{{- with .Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
