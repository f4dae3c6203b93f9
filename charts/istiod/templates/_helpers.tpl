{{/*
Three sets of values meet here, the last wins: the chart's defaults, the profile, what the user
gave. Helm hands the first and the last over as one; the defaults therefore lie under a key of
their own and are merged here, once for each release. Every template calls this first.
*/}}
{{- define "istiod.values" -}}
{{- if hasKey .Values "_internal_defaults_do_not_set" -}}
{{- $defaults := index .Values "_internal_defaults_do_not_set" -}}
{{- $given := omit .Values "_internal_defaults_do_not_set" -}}
{{- with $given.profile -}}
{{- $file := printf "files/profile-%s.yaml" . -}}
{{- $text := $.Files.Get $file -}}
{{- if not $text -}}
{{- fail (printf "unknown profile %q" .) -}}
{{- end -}}
{{- $defaults = mustMergeOverwrite $defaults ($text | fromYaml) -}}
{{- end -}}
{{- /* pilot's keys are accepted at the top level too */ -}}
{{- $top := dict -}}
{{- range $k, $v := $given -}}
{{- if hasKey $defaults.pilot $k -}}{{- $_ := set $top $k $v -}}{{- end -}}
{{- end -}}
{{- $merged := mustMergeOverwrite $defaults (dict "pilot" $top) $given -}}
{{- range $k, $v := $merged -}}{{- $_ := set $.Values $k $v -}}{{- end -}}
{{- $_ := unset .Values "_internal_defaults_do_not_set" -}}
{{- end -}}
{{- end -}}

{{/* The revision as labels have it. */}}
{{- define "istiod.rev" -}}
{{- .Values.revision | default "default" -}}
{{- end -}}

{{/* "" or "-REV": what a revision adds to a name. */}}
{{- define "istiod.suffix" -}}
{{- with .Values.revision }}-{{ . }}{{ end -}}
{{- end -}}

{{/* Name of the Deployment, Service and ServiceAccount. */}}
{{- define "istiod.name" -}}
istiod{{ include "istiod.suffix" . }}
{{- end -}}

{{/* Names of what has no namespace: two installations in two namespaces do not meet. */}}
{{- define "istiod.clusterName" -}}
{{ include "istiod.name" . }}-{{ .Release.Namespace }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "istiod.labels" -}}
app: istiod
istio.io/rev: {{ include "istiod.rev" . | quote }}
{{- with .Values.ownerName }}
install.operator.istio.io/owning-resource: {{ . | quote }}
{{- end }}
operator.istio.io/component: Pilot
release: {{ .Release.Name }}
app.kubernetes.io/name: lateen
app.kubernetes.io/component: control-plane
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: lateen
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Labels of the pods: those that change with each version would restart pods for nothing. */}}
{{- define "istiod.podLabels" -}}
app: istiod
istio: {{ include "istiod.role" . }}
istio.io/rev: {{ include "istiod.rev" . | quote }}
operator.istio.io/component: Pilot
app.kubernetes.io/name: lateen
app.kubernetes.io/component: control-plane
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: lateen
{{- end -}}

{{/* What tells this revision's pods from others: never changes, selectors are immutable. */}}
{{- define "istiod.selector" -}}
app: istiod
{{- if .Values.revision }}
istio.io/rev: {{ .Values.revision | quote }}
{{- else }}
istio: pilot
{{- end }}
{{- end -}}

{{/* Pods of a revision are no "pilot": the selector without a revision must not find them. */}}
{{- define "istiod.role" -}}
{{ ternary "istiod" "pilot" (ne .Values.revision "") }}
{{- end -}}

{{/* The image: a whole reference, or a name below the hub. */}}
{{- define "istiod.image" -}}
{{- $p := .Values.pilot -}}
{{- if contains "/" $p.image -}}
{{ $p.image }}
{{- else -}}
{{- $variant := $p.variant | default .Values.global.variant -}}
{{ $p.hub | default .Values.global.hub }}/{{ $p.image }}:{{ $p.tag | default .Values.global.tag }}{{ with $variant }}-{{ . }}{{ end }}
{{- end -}}
{{- end -}}
