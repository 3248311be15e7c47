{{/*
The name of every object: the service's own. A namespace is one environment, so it is unique there, and it never changes with a release.
In quotes: YAML reads some words as something else than text ("no" is a decent name).
*/}}
{{- define "microservice.name" -}}
{{- .Values.service | quote -}}
{{- end -}}

{{/*
The labels that find a service's pods. They can never be changed on a living Deployment, so nothing that changes is among them.
*/}}
{{- define "microservice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "microservice.name" . }}
{{- end -}}

{{/*
The labels of a pod: the same for every release in one environment, so that a version number alone never replaces a pod.
*/}}
{{- define "microservice.podLabels" -}}
{{ include "microservice.selectorLabels" . }}
app.kubernetes.io/component: service
app.kubernetes.io/part-of: shop
slipway.dev/environment: {{ .Values.environment | quote }}
slipway.dev/tier: {{ .Values.tier }}
{{- end -}}

{{/*
The labels of every object but the pods.
*/}}
{{- define "microservice.labels" -}}
{{ include "microservice.podLabels" . }}
app.kubernetes.io/managed-by: slipway
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/*
Name, namespace and labels of an object.
*/}}
{{- define "microservice.metadata" -}}
name: {{ include "microservice.name" . }}
namespace: {{ .Values.environment | quote }}
labels:
  {{- include "microservice.labels" . | nindent 2 }}
{{- end -}}

{{/*
The image, by digest.
*/}}
{{- define "microservice.image" -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- end -}}

{{/*
The service's configuration as the file it reads.
*/}}
{{- define "microservice.config" -}}
{{- toYaml .Values.config -}}
{{- end -}}

{{/*
One HTTP probe of the service's port.
*/}}
{{- define "microservice.probe" -}}
httpGet:
  path: {{ .path | quote }}
  port: http
periodSeconds: {{ .periodSeconds }}
timeoutSeconds: {{ .timeoutSeconds }}
failureThreshold: {{ .failureThreshold }}
{{- end -}}

{{/*
Nothing, or a sentence about the first value that cannot be right. What a value's type can say is in values.schema.json.
*/}}
{{- define "microservice.check" -}}
{{- $dnsLabel := "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$" -}}
{{- range $key := list "service" "environment" -}}
{{- $value := index $.Values $key -}}
{{- if not $value -}}
{{- fail (printf "%s is not set: every service needs a name and an environment" $key) -}}
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
{{- range $name, $_ := .Values.env -}}
{{- if hasPrefix "SLIPWAY_" $name -}}
{{- fail (printf "env.%s cannot be set: names that begin with SLIPWAY_ are the chart's own" $name) -}}
{{- else if not (regexMatch "^[A-Za-z_][A-Za-z0-9_]*$" $name) -}}
{{- fail (printf "env has %q, which cannot be a variable's name: use letters, digits and underscores" $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %v and autoscaling.maxReplicas %v: the least cannot be more than the most" .minReplicas .maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- end -}}
