{{/* Environment of the control plane's container; pilot.env wins over what is set here. */}}
{{- define "istiod.environment" -}}
{{- $set := dict
      "CLUSTER_ID" (.Values.global.multiCluster.clusterName | default "Kubernetes")
      "GATEWAY_CLASS_ISTIO" (toString .Values.gatewayClasses.istio)
      "VALIDATION_WEBHOOK" (toString .Values.global.configValidation)
      "MANAGE_WEBHOOKS" (toString (not .Values.global.operatorManageWebhooks))
      "REPAIR_DELETE_PODS" (toString .Values.sidecarInjectorWebhook.repair.deletePods) -}}
{{- with .Values.global.trustDomain -}}{{- $_ := set $set "TRUST_DOMAIN" . -}}{{- end -}}
{{- range $k, $v := .Values.pilot.env -}}
{{- $_ := set $set $k (ternary "" (toString $v) (kindIs "invalid" $v)) -}}
{{- end -}}
{{- range $k, $v := $set -}}
- name: {{ $k }}
  value: {{ $v | quote }}
{{ end -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: SERVICE_ACCOUNT
  valueFrom:
    fieldRef:
      fieldPath: spec.serviceAccountName
- name: REVISION
  value: {{ include "istiod.rev" . | quote }}
- name: GOMEMLIMIT # the collector works harder before the kernel ends the process
  valueFrom:
    resourceFieldRef:
      resource: limits.memory
      divisor: "1"
{{- end -}}

{{/* Replicas keep to different nodes where they can. */}}
{{- define "istiod.affinity" -}}
{{- if .Values.pilot.affinity -}}
{{ toYaml .Values.pilot.affinity }}
{{- else -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "istiod.selector" . | nindent 12 }}
{{- end -}}
{{- end -}}

{{/* And to different zones. */}}
{{- define "istiod.spread" -}}
{{- if .Values.pilot.topologySpreadConstraints -}}
{{ toYaml .Values.pilot.topologySpreadConstraints }}
{{- else -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" -}}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "istiod.selector" $ | nindent 6 }}
{{ end -}}
{{- end -}}
{{- end -}}
