{{/*
The labels that find the gateway's pods; the services' network policies know them too.
*/}}
{{- define "gateway.selectorLabels" -}}
app.kubernetes.io/name: gateway
{{- end -}}

{{/*
Name, namespace and labels of an object.
*/}}
{{- define "gateway.metadata" -}}
name: gateway
namespace: {{ .Release.Namespace }}
labels:
  {{- include "gateway.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/part-of: slipway
  app.kubernetes.io/managed-by: slipway
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/*
The configuration of nginx.
*/}}
{{- define "gateway.config" -}}
{{- tpl (.Files.Get "nginx.conf") . -}}
{{- end -}}
