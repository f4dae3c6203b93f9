{{/*
Injection of what some selectors choose. Expects: root, name (first labels of the webhook's name),
namespaces and objects (lists of match expressions).

With failurePolicy Ignore a pod that nobody answers for starts without its sidecar. A pod whose
image is "auto" (a gateway) could not start at all without the injector: those are a webhook of
their own that fails, and whoever makes the pod tries again.
*/}}
{{- define "injector.webhook" -}}
{{- $hook := .root.Values.sidecarInjectorWebhook -}}
{{- $auto := "object.spec.containers.exists(c, c.image == 'auto')" -}}
{{- if eq $hook.failurePolicy "Fail" -}}
{{ include "injector.one" (merge (dict "policy" "Fail") .) }}
{{- else -}}
{{ include "injector.one" (merge (dict "policy" $hook.failurePolicy "condition" (dict "name" "has-image" "expression" (printf "!%s" $auto))) .) }}
{{ include "injector.one" (merge (dict "policy" "Fail" "condition" (dict "name" "image-auto" "expression" $auto) "name" (printf "auto-image.%s" .name)) .) }}
{{- end -}}
{{- end -}}

{{- define "injector.one" -}}
{{- $hook := .root.Values.sidecarInjectorWebhook -}}
{{- $remote := .root.Values.istiodRemote -}}
- name: {{ .name }}sidecar-injector.istio.io
  clientConfig:
    {{- if $remote.injectionURL }}
    url: {{ $remote.injectionURL | quote }}
    {{- else }}
    service:
      name: {{ include "istiod.name" .root }}
      namespace: {{ .root.Release.Namespace }}
      path: {{ $remote.injectionPath | quote }}
      port: 443
    {{- end }}
    {{- /* Without one given, the control plane writes it: a field that Helm does not own. */}}
    {{- with $remote.injectionCABundle }}
    caBundle: {{ . | quote }}
    {{- end }}
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: {{ .policy }}
  timeoutSeconds: {{ int $hook.timeoutSeconds }}
  reinvocationPolicy: {{ $hook.reinvocationPolicy }}
  rules:
    - operations: [CREATE]
      apiGroups: [""]
      apiVersions: [v1]
      resources: [pods]
  {{- with .condition }}
  matchConditions:
    - name: {{ .name }}
      expression: {{ .expression | quote }}
  {{- end }}
  namespaceSelector:
    matchExpressions:
      {{- range .namespaces }}
      - {{ toJson . }}
      {{- end }}
      # What the cluster itself needs is never held up.
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values: [kube-system, kube-node-lease, kube-public]
  objectSelector:
    matchExpressions:
      {{- range .objects }}
      - {{ toJson . }}
      {{- end }}
{{- end -}}

{{/* The webhooks of one revision or tag: namespaces and pods that name it. Expects root, rev. */}}
{{- define "injector.byRevision" -}}
{{- $rev := dict "key" "istio.io/rev" "operator" "In" "values" (list .rev) -}}
{{- $noRev := dict "key" "istio.io/rev" "operator" "DoesNotExist" -}}
{{- $noInjection := dict "key" "istio-injection" "operator" "DoesNotExist" -}}
{{- $allowed := dict "key" "sidecar.istio.io/inject" "operator" "NotIn" "values" (list "false") -}}
{{ include "injector.webhook" (dict "root" .root "name" "rev.namespace." "namespaces" (list $rev $noInjection) "objects" (list $allowed)) }}
{{ include "injector.webhook" (dict "root" .root "name" "rev.object." "namespaces" (list $noRev $noInjection) "objects" (list $allowed $rev)) }}
{{- end -}}

{{/* The webhooks of the default revision: istio-injection=enabled, and pods that ask. */}}
{{- define "injector.byDefault" -}}
{{- $noRev := dict "key" "istio.io/rev" "operator" "DoesNotExist" -}}
{{- $noInjection := dict "key" "istio-injection" "operator" "DoesNotExist" -}}
{{- $enabled := dict "key" "istio-injection" "operator" "In" "values" (list "enabled") -}}
{{- $allowed := dict "key" "sidecar.istio.io/inject" "operator" "NotIn" "values" (list "false") -}}
{{- $asked := dict "key" "sidecar.istio.io/inject" "operator" "In" "values" (list "true") -}}
{{- $silent := dict "key" "sidecar.istio.io/inject" "operator" "DoesNotExist" -}}
{{ include "injector.webhook" (dict "root" .root "name" "namespace." "namespaces" (list $enabled) "objects" (list $allowed)) }}
{{ include "injector.webhook" (dict "root" .root "name" "object." "namespaces" (list $noInjection $noRev) "objects" (list $asked $noRev)) }}
{{- if .root.Values.sidecarInjectorWebhook.enableNamespacesByDefault }}
{{- $others := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (list .root.Release.Namespace "local-path-storage") }}
{{ include "injector.webhook" (dict "root" .root "name" "auto." "namespaces" (list $noInjection $noRev $others) "objects" (list $silent $noRev)) }}
{{- end }}
{{- end -}}

{{/* "" in istio-system, "-NS" elsewhere: Istio's names of the injector's webhook. */}}
{{- define "injector.namespaceSuffix" -}}
{{- if ne .Release.Namespace "istio-system" }}-{{ .Release.Namespace }}{{ end -}}
{{- end -}}
