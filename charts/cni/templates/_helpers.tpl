{{/* Defaults, profile, the user's values: see the chart istiod. */}}
{{- define "cni.values" -}}
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

{{- define "cni.labels" -}}
k8s-app: istio-cni-node
istio.io/rev: {{ .Values.revision | default "default" | quote }}
operator.istio.io/component: Cni
app.kubernetes.io/name: istio-cni
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: lateen
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "cni.image" -}}
{{- $c := .Values.cni -}}
{{- if contains "/" $c.image -}}
{{ $c.image }}
{{- else -}}
{{- $variant := $c.variant | default .Values.global.variant -}}
{{ $c.hub | default .Values.global.hub }}/{{ $c.image }}:{{ $c.tag | default .Values.global.tag }}{{ with $variant }}-{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{/* repair, delete, label or off. */}}
{{- define "cni.repair" -}}
{{- $r := .Values.cni.repair -}}
{{- if not $r.enabled -}}off
{{- else if $r.repairPods -}}repair
{{- else if $r.deletePods -}}delete
{{- else if $r.labelPods -}}label
{{- else -}}off
{{- end -}}
{{- end -}}
