{{/*
The name of every object. In quotes: YAML reads some words as something else than text.
*/}}
{{- define "valkey.name" -}}
{{- .Values.service | quote -}}
{{- end -}}

{{/*
The labels that find the server's pod. They can never be changed on a living StatefulSet, so nothing that changes is among them.
*/}}
{{- define "valkey.selectorLabels" -}}
app.kubernetes.io/name: {{ include "valkey.name" . }}
{{- end -}}

{{/*
The labels of the pod and of its volume: the same for every version of the chart, for a volume's claim can never be changed.
*/}}
{{- define "valkey.podLabels" -}}
{{ include "valkey.selectorLabels" . }}
app.kubernetes.io/component: store
app.kubernetes.io/part-of: shop
slipway.dev/environment: {{ .Values.environment | quote }}
slipway.dev/tier: {{ .Values.tier }}
{{- end -}}

{{/*
Data outlives a record that vanishes, and an application that is deleted: Argo CD takes away nothing of this chart.
*/}}
{{- define "valkey.annotations" -}}
argocd.argoproj.io/sync-options: Prune=false,Delete=false
{{- end -}}

{{/*
Name, namespace, labels and annotations of an object.
*/}}
{{- define "valkey.metadata" -}}
name: {{ include "valkey.name" . }}
namespace: {{ .Values.environment | quote }}
labels:
  {{- include "valkey.podLabels" . | nindent 2 }}
  app.kubernetes.io/managed-by: slipway
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
annotations:
  {{- include "valkey.annotations" . | nindent 2 }}
{{- end -}}

{{/*
The mounted files: what the server is told, and how it is started and asked.
*/}}
{{- define "valkey.files" -}}
valkey.conf: |
  dir /data
  maxmemory {{ .Values.maxmemory }}
  maxmemory-policy {{ .Values.maxmemoryPolicy }}
  # A log of every write, and no snapshots beside it.
  appendonly yes
  appendfsync everysec
  auto-aof-rewrite-min-size 16mb
  save ""
{{- range $name := list "start.sh" "ping.sh" }}
{{ $name }}: |
  {{- $.Files.Get (printf "files/%s" $name) | trim | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A quantity of Kubernetes's, or one of Valkey's, in bytes.
*/}}
{{- define "valkey.bytes" -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "mb" 1048576 "Mi" 1048576 "gb" 1073741824 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "[A-Za-z]*$" (toString .) -}}
{{- mulf (float64 (trimSuffix $unit (toString .))) (index $units $unit) -}}
{{- end -}}

{{/*
Nothing, or a sentence about the first value that cannot be right. What a value's type can say is in values.schema.json.
*/}}
{{- define "valkey.check" -}}
{{- $dnsLabel := "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$" -}}
{{- range $key := list "service" "environment" -}}
{{- $value := index $.Values $key -}}
{{- if not $value -}}
{{- fail (printf "%s is not set: every store needs a name and an environment" $key) -}}
{{- else if not (regexMatch $dnsLabel $value) -}}
{{- fail (printf "%s is %q, but it becomes a host name: use lower-case letters, digits and dashes, beginning with a letter" $key $value) -}}
{{- end -}}
{{- end -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail (printf "image.repository is not set: say where the image of %s lies" $.Values.service) -}}
{{- else if regexMatch "@|:[^/]*$" .repository -}}
{{- fail (printf "image.repository is %q, but it must not carry a tag or a digest: put the digest in image.digest" .repository) -}}
{{- end -}}
{{- if not .digest -}}
{{- fail (printf "image.digest is not set: %s runs by digest only, so that what was tested is what runs" $.Values.service) -}}
{{- else if not (regexMatch "^sha256:[0-9a-f]{64}$" .digest) -}}
{{- fail (printf "image.digest is %q, but a digest is \"sha256:\" and 64 hexadecimal digits" .digest) -}}
{{- end -}}
{{- end -}}
{{- with .Values.resources.limits.memory -}}
{{- if lt (float64 (include "valkey.bytes" .)) (mulf 2 (float64 (include "valkey.bytes" $.Values.maxmemory))) -}}
{{- fail (printf "resources.limits.memory is %v and maxmemory %v: the limit must be at least twice that, for pages may be there twice while the log is rewritten" . $.Values.maxmemory) -}}
{{- end -}}
{{- end -}}
{{- end -}}
