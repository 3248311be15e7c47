{{/*
Name of the objects of one part ("master", "worker").
*/}}
{{- define "load.name" -}}
{{- printf "load-%s-%s" .top.Values.run .part | quote -}}
{{- end -}}

{{/*
The labels of the pods; the services' network policies know the first.
*/}}
{{- define "load.labels" -}}
app.kubernetes.io/name: load
app.kubernetes.io/component: {{ .part }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: slipway
slipway.dev/load-run: {{ .top.Values.run | quote }}
{{- end -}}

{{/*
Name, namespace and labels of an object.
*/}}
{{- define "load.metadata" -}}
name: {{ include "load.name" . }}
namespace: {{ .top.Release.Namespace }}
labels:
  {{- include "load.labels" . | nindent 2 }}
  helm.sh/chart: {{ .top.Chart.Name }}-{{ .top.Chart.Version }}
{{- end -}}

{{/*
The Job of one part; `arguments` are what Locust is told, `number` how many pods there are.
*/}}
{{- define "load.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "load.metadata" . | nindent 2 }}
spec:
  parallelism: {{ .number }}
  completions: {{ .number }}
  # A pod that ended is not started again: nobody could tell what it had done before.
  backoffLimit: 0
  activeDeadlineSeconds: {{ .top.Values.deadlineSeconds }}
  ttlSecondsAfterFinished: {{ .top.Values.keepSeconds }}
  template:
    metadata:
      labels:
        {{- include "load.labels" . | nindent 8 }}
      annotations:
        slipway.dev/config-sha256: {{ .top.Values.order | sha256sum }}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 5
      # Every name is whole: asking for it in each of the cluster's domains first would be part of every new connection.
      dnsConfig:
        options:
          - name: ndots
            value: "1"
      {{- with .top.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if gt (int .number) 1 }}
      # Several of them on one node share its cores; where there are more nodes, each gets one of its own.
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: load
              app.kubernetes.io/component: {{ .part }}
              slipway.dev/load-run: {{ .top.Values.run | quote }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: {{ .part }}
          image: {{ .top.Values.image | quote }}
          imagePullPolicy: IfNotPresent
          args:
            {{- toYaml .arguments | nindent 12 }}
          env:
            - name: LOAD_ORDER
              value: /etc/load/order.json
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop:
                - ALL
          {{- if eq .part "master" }}
          ports:
            - name: workers
              containerPort: 5557
          {{- end }}
          resources:
            {{- toYaml .top.Values.resources | nindent 12 }}
          volumeMounts:
            - name: order
              mountPath: /etc/load
              readOnly: true
            - name: tmp
              mountPath: /tmp
      volumes:
        - name: order
          configMap:
            name: {{ include "load.name" (dict "top" .top "part" "order") }}
        - name: tmp
          emptyDir: {}
{{- end -}}

{{/*
Nothing, or a sentence about the first value that cannot be right.
*/}}
{{- define "load.check" -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$" .Values.run) -}}
{{- fail (printf "run is %q, but it becomes part of names: use 1 to 40 lower-case letters, digits and dashes" .Values.run) -}}
{{- end -}}
{{- range $key := list "image" "order" -}}
{{- if not (index $.Values $key) -}}
{{- fail (printf "%s is not set" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
