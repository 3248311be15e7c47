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

{{/*
What a browser is told where there is no page.
*/}}
{{- define "gateway.pages" -}}
{{- tpl (.Files.Get "pages.yaml") . -}}
{{- end -}}

{{/*
The files that nginx reads.
*/}}
{{- define "gateway.files" -}}
nginx.conf: |
  {{- include "gateway.config" . | nindent 2 }}
{{- range $name, $page := include "gateway.pages" . | fromYaml }}
{{ $name }}.html: |
  {{- include "gateway.page" $page | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
What is told to a browser at the paths of a page, by what stands behind the address and the name of the page's file.
*/}}
{{- define "gateway.browser" }}
        location {{ if hasPrefix "^" .page.at }}~ {{ end }}{{ .page.at }} {
            error_page 418 = @browser;
            if ($browser) {
                return 418;
            }
            {{- .ask | nindent 12 }}
            error_page 502 504 @silent;
        }
        location @browser {
            {{- .ask | nindent 12 }}
            proxy_intercept_errors on;
            error_page {{ .page.instead }} =200 @page;
            error_page 502 504 @silent;
        }
        location @page {
            root /etc/slipway;
            try_files /{{ .name }}.html =404;
            ssi on;
            charset utf-8;
            add_header Cache-Control no-store always;
            add_header Vary Accept always;
            add_header X-Request-Id $id always;
        }
{{- end }}
