{{/*
The labels that find the Git server's pod.
*/}}
{{- define "git.selectorLabels" -}}
app.kubernetes.io/name: git
{{- end -}}

{{/*
Name, namespace and labels of an object.
*/}}
{{- define "git.metadata" -}}
name: git
namespace: {{ .Release.Namespace }}
labels:
  {{- include "git.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/part-of: slipway
  app.kubernetes.io/managed-by: slipway
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
