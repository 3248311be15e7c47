{{/*
The labels that find the provisioner's pod.
*/}}
{{- define "local-path.selectorLabels" -}}
app.kubernetes.io/name: local-path
{{- end -}}

{{/*
Labels of every object.
*/}}
{{- define "local-path.labels" -}}
{{ include "local-path.selectorLabels" . }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: slipway
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/*
Name and labels of an object that lies in the namespace.
*/}}
{{- define "local-path.metadata" -}}
name: local-path
namespace: {{ .Release.Namespace }}
labels:
  {{- include "local-path.labels" . | nindent 2 }}
{{- end -}}

{{/*
What the provisioner reads: where volumes lie, and what its helper pod does.
*/}}
{{- define "local-path.config" -}}
config.json: |
  {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [{{ .Values.path | quote }}]}]}
setup: |
  #!/bin/sh
  set -eu
  # Anybody's: the folder takes no notice of fsGroup, and its pod may run as any user.
  mkdir -m 0777 -p "$VOL_DIR"
teardown: |
  #!/bin/sh
  set -eu
  rm -rf "$VOL_DIR"
helperPod.yaml: |
  apiVersion: v1
  kind: Pod
  metadata:
    name: helper-pod
  spec:
    automountServiceAccountToken: false
    priorityClassName: system-node-critical
    tolerations:
      - key: node.kubernetes.io/disk-pressure
        operator: Exists
        effect: NoSchedule
    containers:
      - name: helper-pod
        image: {{ required "helperImage is not set: say which image makes the volumes' folders" .Values.helperImage | quote }}
        imagePullPolicy: IfNotPresent
{{- end -}}
