{{/*
Labels that every object carries beside its own name.
*/}}
{{- define "monitoring.labels" -}}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: slipway
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/*
Name, namespace and labels of an object. Called with the chart's context and the name of the program.
*/}}
{{- define "monitoring.metadata" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
name: {{ $name }}
namespace: {{ $root.Release.Namespace }}
labels:
  app.kubernetes.io/name: {{ $name }}
  {{- include "monitoring.labels" $root | nindent 2 }}
{{- end -}}

{{/*
A name that is nobody else's in the whole cluster.
*/}}
{{- define "monitoring.clusterMetadata" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
name: slipway-{{ $root.Release.Namespace }}-{{ $name }}
labels:
  app.kubernetes.io/name: {{ $name }}
  {{- include "monitoring.labels" $root | nindent 2 }}
{{- end -}}

{{/*
What every pod here may do: as little as Kubernetes has a word for.
*/}}
{{- define "monitoring.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "monitoring.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end -}}

{{/*
Probes of one HTTP server: called with the paths of liveness and readiness.
*/}}
{{- define "monitoring.probes" -}}
{{- $port := index . 0 -}}
{{- $live := index . 1 -}}
{{- $ready := index . 2 -}}
startupProbe:
  httpGet:
    path: {{ $ready }}
    port: {{ $port }}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 300
livenessProbe:
  httpGet:
    path: {{ $live }}
    port: {{ $port }}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: {{ $ready }}
    port: {{ $port }}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end -}}

{{/*
The files of Prometheus and Alertmanager.
*/}}
{{- define "monitoring.prometheusConfig" -}}
{{- tpl (.Files.Get "config/prometheus.yaml") . -}}
{{- end -}}

{{- define "monitoring.alertmanagerConfig" -}}
{{- tpl (.Files.Get "config/alertmanager.yaml") . -}}
{{- end -}}

{{/*
Nothing, or a sentence about the first value that cannot be right.
*/}}
{{- define "monitoring.check" -}}
{{- range $key, $image := .Values.images -}}
{{- if not $image -}}
{{- fail (printf "images.%s is not set: say which image it runs" $key) -}}
{{- end -}}
{{- end -}}
{{- with .Values.remoteWrite -}}
{{- if and (or .secret .ca .keep (ne .auth "none")) (not .url) -}}
{{- fail "remoteWrite.url is not set, but other parts of remoteWrite are: nothing would be sent" -}}
{{- end -}}
{{- if and (or .ca (ne .auth "none")) (not .secret) -}}
{{- fail (printf "remoteWrite.secret is not set: name the Secret that holds what remoteWrite needs (auth %s, ca %v)" .auth .ca) -}}
{{- end -}}
{{- end -}}
{{- with .Values.webhook -}}
{{- if and .url .secret -}}
{{- fail "webhook.url and webhook.secret are both set: give the address once" -}}
{{- end -}}
{{- end -}}
{{- end -}}
