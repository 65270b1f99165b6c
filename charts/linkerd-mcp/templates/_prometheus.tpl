{{/* How a program is told to log in to Prometheus, and where the files for that are: the same for the controller and the API. */}}
{{- define "linkerd-mcp.prometheus.args" -}}
{{- with .Values.prometheus.user }}
- {{ printf "--prometheus-user=%s" . | quote }}
- --prometheus-password-file=/etc/linkerd-mcp/prometheus-password/password
{{- end }}
{{- if .Values.prometheus.tokenSecret.name }}
- --prometheus-token-file=/etc/linkerd-mcp/prometheus-token/token
{{- end }}
{{- if .Values.prometheus.caSecret.name }}
- --prometheus-ca-file=/etc/linkerd-mcp/prometheus-ca/ca.crt
{{- end }}
{{- range .Values.prometheus.matchers }}
- {{ printf "--prometheus-matcher=%s" . | quote }}
{{- end }}
{{- end }}

{{/* The Prometheus of linkerd-viz, by name. */}}
{{- define "linkerd-mcp.prometheus.viz" -}}
http://prometheus.{{ .Values.viz.namespace }}.svc.{{ .Values.clusterDomain }}:9090
{{- end }}

{{- define "linkerd-mcp.prometheus.mounts" -}}
{{- if .Values.prometheus.passwordSecret.name }}
- name: prometheus-password
  mountPath: /etc/linkerd-mcp/prometheus-password
  readOnly: true
{{- end }}
{{- if .Values.prometheus.tokenSecret.name }}
- name: prometheus-token
  mountPath: /etc/linkerd-mcp/prometheus-token
  readOnly: true
{{- end }}
{{- if .Values.prometheus.caSecret.name }}
- name: prometheus-ca
  mountPath: /etc/linkerd-mcp/prometheus-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "linkerd-mcp.prometheus.volumes" -}}
{{- if .Values.prometheus.passwordSecret.name }}
{{ include "linkerd-mcp.secret.volume" (dict "volume" "prometheus-password" "secret" .Values.prometheus.passwordSecret "path" "password") }}
{{- end }}
{{- if .Values.prometheus.tokenSecret.name }}
{{ include "linkerd-mcp.secret.volume" (dict "volume" "prometheus-token" "secret" .Values.prometheus.tokenSecret "path" "token") }}
{{- end }}
{{- if .Values.prometheus.caSecret.name }}
{{ include "linkerd-mcp.secret.volume" (dict "volume" "prometheus-ca" "secret" .Values.prometheus.caSecret "path" "ca.crt") }}
{{- end }}
{{- end }}
