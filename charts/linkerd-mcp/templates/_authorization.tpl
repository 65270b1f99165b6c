{{- /*
A role for callers of the API, and who has it. Takes a dict: root; name; rules, as text; subjects, a list; own, a
ServiceAccount of ours that has it too, or empty; into, a role of Kubernetes, and aggregate, whether that one takes it in.
*/}}
{{- define "linkerd-mcp.caller-role" -}}
apiVersion: rbac.authorization.k8s.io/v1
{{- if .root.Values.namespaceOnly }}
kind: Role
{{- else }}
kind: ClusterRole
{{- end }}
metadata:
  {{- if .root.Values.namespaceOnly }}
  name: {{ .root.Release.Namespace }}-{{ .name }}
  namespace: {{ .root.Values.namespaceOnly | quote }}
  {{- else }}
  name: linkerd-{{ .root.Release.Namespace }}-{{ .name }}
  {{- end }}
  labels:
    {{- include "linkerd-mcp.labels" (dict "root" .root "component" "mcp-api") | nindent 4 }}
    {{- if and .aggregate (not .root.Values.namespaceOnly) }}
    rbac.authorization.k8s.io/aggregate-to-{{ .into }}: "true"
    {{- end }}
  annotations:
    {{- include "linkerd-mcp.annotations" (dict "root" .root "extra" dict) | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
{{- if or .own .subjects }}
---
apiVersion: rbac.authorization.k8s.io/v1
{{- if .root.Values.namespaceOnly }}
kind: RoleBinding
{{- else }}
kind: ClusterRoleBinding
{{- end }}
metadata:
  {{- if .root.Values.namespaceOnly }}
  name: {{ .root.Release.Namespace }}-{{ .name }}
  namespace: {{ .root.Values.namespaceOnly | quote }}
  {{- else }}
  name: linkerd-{{ .root.Release.Namespace }}-{{ .name }}
  {{- end }}
  labels:
    {{- include "linkerd-mcp.labels" (dict "root" .root "component" "mcp-api") | nindent 4 }}
  annotations:
    {{- include "linkerd-mcp.annotations" (dict "root" .root "extra" dict) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  {{- if .root.Values.namespaceOnly }}
  kind: Role
  name: {{ .root.Release.Namespace }}-{{ .name }}
  {{- else }}
  kind: ClusterRole
  name: linkerd-{{ .root.Release.Namespace }}-{{ .name }}
  {{- end }}
subjects:
  {{- if .own }}
  - kind: ServiceAccount
    name: {{ .own }}
    namespace: {{ .root.Release.Namespace | quote }}
  {{- end }}
  {{- range .subjects }}
  - kind: {{ .kind }}
    name: {{ .name | quote }}
    {{- if eq .kind "ServiceAccount" }}
    namespace: {{ .namespace | quote }}
    {{- else }}
    apiGroup: rbac.authorization.k8s.io
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "linkerd-mcp.viewer-rules" -}}
- apiGroups: [mcp.linkerd.io]
  resources: [graphs]
  verbs: [get, watch]
- apiGroups: [mcp.linkerd.io]
  resources: [policies, metrics, objects]
  verbs: [get]
- apiGroups: [mcp.linkerd.io]
  resources: [changes]
  verbs: [list]
{{- end }}

{{- define "linkerd-mcp.editor-rules" -}}
{{ include "linkerd-mcp.viewer-rules" . }}
- apiGroups: [mcp.linkerd.io]
  resources: [plans]
  verbs: [create]
- apiGroups: [mcp.linkerd.io]
  resources: [changes]
  verbs: [create, delete]
{{- end }}
