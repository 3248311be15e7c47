{{/*
The name of every object. In quotes: YAML reads some words as something else than text.
*/}}
{{- define "postgresql.name" -}}
{{- .Values.service | quote -}}
{{- end -}}

{{/*
The labels that find the server's pod. They can never be changed on a living StatefulSet, so nothing that changes is among them.
*/}}
{{- define "postgresql.selectorLabels" -}}
app.kubernetes.io/name: {{ include "postgresql.name" . }}
{{- end -}}

{{/*
The labels of the pod and of its volume: the same for every version of the chart, for a volume's claim can never be changed.
*/}}
{{- define "postgresql.podLabels" -}}
{{ include "postgresql.selectorLabels" . }}
app.kubernetes.io/component: store
app.kubernetes.io/part-of: shop
slipway.dev/environment: {{ .Values.environment | quote }}
slipway.dev/tier: {{ .Values.tier }}
{{- end -}}

{{/*
Data outlives a record that vanishes, and an application that is deleted: Argo CD takes away nothing of this chart.
*/}}
{{- define "postgresql.annotations" -}}
argocd.argoproj.io/sync-options: Prune=false,Delete=false
{{- end -}}

{{/*
Name, namespace, labels and annotations of an object.
*/}}
{{- define "postgresql.metadata" -}}
name: {{ include "postgresql.name" . }}
namespace: {{ .Values.environment | quote }}
labels:
  {{- include "postgresql.podLabels" . | nindent 2 }}
  app.kubernetes.io/managed-by: slipway
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
annotations:
  {{- include "postgresql.annotations" . | nindent 2 }}
{{- end -}}

{{/*
The mounted files: what the server is told, and how its data folder is made ready.
*/}}
{{- define "postgresql.files" -}}
postgresql.conf: |
  # Addresses: TCP for the environment, a socket for the pod itself.
  listen_addresses = '*'
  port = 5432
  unix_socket_directories = '/var/run/postgresql'
  hba_file = '/etc/postgresql/pg_hba.conf'
  # An accepted order is never lost.
  fsync = on
  full_page_writes = on
  synchronous_commit = on
  # What the images would choose differently, or what a small server does not need.
  huge_pages = off
  jit = off
  max_logical_replication_workers = 0
  password_encryption = 'scram-sha-256'
  log_line_prefix = '%m [%p] %q%u@%d '
  {{- range $name, $value := .Values.settings }}
  {{- if kindIs "float64" $value }}
  {{- $value = int64 $value }}
  {{- end }}
  {{ $name }} = '{{ $value | toString | replace "'" "''" }}'
  {{- end }}
pg_hba.conf: |
  # The pod's own user is the superuser; everybody else needs a password.
  local all postgres peer
  host all all all scram-sha-256
prepare.sh: |
  {{- .Files.Get "files/prepare.sh" | trim | nindent 2 }}
prepare.sql: |
  {{- tpl (.Files.Get "files/prepare.sql") . | trim | nindent 2 }}
{{- end -}}

{{/*
What both containers have: the image, its rights, its files.
*/}}
{{- define "postgresql.container" -}}
image: {{ printf "%s@%s" .Values.image.repository .Values.image.digest | quote }}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
env:
  # A folder inside the volume: the volume itself belongs to the cluster, and a rename inside it is all or nothing.
  - name: PGDATA
    value: /var/lib/postgresql/data/pgdata
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end -}}

{{/*
Nothing, or a sentence about the first value that cannot be right. What a value's type can say is in values.schema.json.
*/}}
{{- define "postgresql.check" -}}
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
{{- range $name := .Values.databases -}}
{{- if or (has $name (list "postgres" "template0" "template1")) (hasPrefix "pg_" $name) -}}
{{- fail (printf "databases has %q, which is PostgreSQL's own: choose another name" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.settings -}}
{{- if has $name (list "fsync" "full_page_writes" "synchronous_commit") -}}
{{- fail (printf "settings.%s cannot be set: it stays on, so that an accepted order is never lost" $name) -}}
{{- else if has $name (list "listen_addresses" "port" "unix_socket_directories" "hba_file" "ident_file" "config_file" "data_directory" "external_pid_file" "include" "include_dir" "include_if_exists") -}}
{{- fail (printf "settings.%s cannot be set: where the server listens and where its files lie is the chart's own" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
