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
Which stores a pod uses, by the Secrets SERVICE-STORE that it is given: a store lets in who carries its label.
*/}}
{{- define "microservice.storeLabels" -}}
{{- $prefix := printf "%s-" .Values.service -}}
{{- range .Values.secrets }}
{{- if hasPrefix $prefix . }}
slipway.dev/uses-{{ trimPrefix $prefix . }}: "true"
{{- end }}
{{- end }}
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
The name of that file's ConfigMap. It goes with the content: pods of the old version may start again while the new one does not come up,
and must find what they know. The old one goes when nothing of it is left.
*/}}
{{- define "microservice.configName" -}}
{{- printf "%s-config-%s" .Values.service (include "microservice.config" . | sha256sum | trunc 8) | quote -}}
{{- end -}}

{{/*
Whom a pod may talk to.
*/}}
{{- define "microservice.egress" -}}
- to:
    - podSelector: {}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
  to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
What must be there before anything else is applied.
*/}}
{{- define "microservice.first" -}}
argocd.argoproj.io/sync-wave: "-1"
{{- end -}}

{{/*
What every pod is: an identity without rights, and no user that could have any.
*/}}
{{- define "microservice.pod" -}}
serviceAccountName: {{ include "microservice.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/*
What every container has: the image, its rights, and what it is told.
*/}}
{{- define "microservice.container" -}}
image: {{ include "microservice.image" . | quote }}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
env:
  - name: SLIPWAY_SERVICE
    value: {{ .Values.service | quote }}
  - name: SLIPWAY_ENVIRONMENT
    value: {{ .Values.environment | quote }}
  - name: SLIPWAY_TIER
    value: {{ .Values.tier }}
  - name: SLIPWAY_DIGEST
    value: {{ .Values.image.digest }}
  - name: SLIPWAY_PORT
    value: {{ .Values.port | quote }}
  - name: SLIPWAY_CONFIG
    value: /etc/slipway/config.yaml
  {{- range $name, $value := .Values.env }}
  - name: {{ $name | quote }}
    value: {{ $value | quote }}
  {{- end }}
{{- with .Values.secrets }}
envFrom:
  {{- range . }}
  - secretRef:
      name: {{ . | quote }}
  {{- end }}
{{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/slipway
    readOnly: true
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{/*
What those mounts show: the configuration from the ConfigMap of this name, and a little room.
*/}}
{{- define "microservice.volumes" -}}
- name: config
  configMap:
    name: {{ . }}
- name: tmp
  emptyDir:
    sizeLimit: 32Mi
{{- end -}}

{{/*
The name of what the migration is made of, and the label of its pods: no selector of the service's finds them.
*/}}
{{- define "microservice.migrate" -}}
{{- printf "%s-migrate" .Values.service | quote -}}
{{- end -}}

{{/*
The Job, but for its name and the name of its configuration. Both carry the hash of this: a Job can never be changed, so whatever changes
here is another Job, and what changes elsewhere (a version number) is not.
*/}}
{{- define "microservice.migration" -}}
backoffLimit: {{ .Values.migrations.retries }}
activeDeadlineSeconds: {{ .Values.migrations.deadlineSeconds }}
podFailurePolicy:
  rules:
    # A drained node is nobody's failure.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    # A configuration that the service refuses does not get better.
    - action: FailJob
      onExitCodes:
        containerName: migrate
        operator: In
        values:
          - 78
template:
  metadata:
    labels:
      app.kubernetes.io/name: {{ include "microservice.migrate" . }}
      app.kubernetes.io/component: migration
      app.kubernetes.io/part-of: shop
      slipway.dev/environment: {{ .Values.environment | quote }}
      slipway.dev/tier: {{ .Values.tier }}
      {{- with include "microservice.storeLabels" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
    annotations:
      slipway.dev/config-sha256: {{ include "microservice.config" . | sha256sum }}
  spec:
    # Each attempt is a pod of its own, whose log stays to be read.
    restartPolicy: Never
    {{- include "microservice.pod" . | nindent 4 }}
    containers:
      - name: migrate
        command:
          {{- toYaml .Values.migrations.command | nindent 10 }}
        {{- include "microservice.container" . | nindent 8 }}
        # What it said last is in the pod's status, and so in every report about it.
        terminationMessagePolicy: FallbackToLogsOnError
        resources:
          {{- toYaml .Values.migrations.resources | nindent 10 }}
{{- end -}}

{{/*
The name of the Job, and of its configuration.
*/}}
{{- define "microservice.migrationName" -}}
{{- printf "%s-migrate-%s" .Values.service (include "microservice.migration" . | sha256sum | trunc 8) | quote -}}
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
{{- /* What a service that is told nothing takes is in services/chassis/config.py. */ -}}
{{- $drain := dig "drain_seconds" 5 .Values.config -}}
{{- $finish := dig "finish_seconds" 10 .Values.config -}}
{{- if ge (addf $drain $finish) (float64 .Values.drain.timeout) -}}
{{- fail (printf "config.drain_seconds is %v and config.finish_seconds %v, together not below drain.timeout, which is %v: the pod would be killed while it still answers" $drain $finish .Values.drain.timeout) -}}
{{- end -}}
{{- if .Values.migrations.command -}}
{{- if gt (len .Values.service) 46 -}}
{{- fail (printf "service is %q, which is too long for a service with migrations: a Job's name is longer by 17 letters, and may have 63" .Values.service) -}}
{{- end -}}
{{- end -}}
{{- end -}}
