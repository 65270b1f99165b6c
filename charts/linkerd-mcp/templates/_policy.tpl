{{/* An AuthorizationPolicy for one of our Servers, from root, component, name, server and ref (kind and name). */}}
{{- define "linkerd-mcp.authorization" -}}
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "linkerd-mcp.labels" (dict "root" .root "component" .component) | nindent 4 }}
  annotations:
    {{- include "linkerd-mcp.annotations" (dict "root" .root "extra" dict) | nindent 4 }}
spec:
  targetRef:
    group: policy.linkerd.io
    kind: Server
    name: {{ .server }}
  requiredAuthenticationRefs:
    - group: policy.linkerd.io
      kind: {{ .kind }}
      name: {{ .ref }}
{{- end }}

{{/* A Server for a port of a component, from root, component, name, port and protocol. Nobody may connect unless authorized. */}}
{{- define "linkerd-mcp.server" -}}
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "linkerd-mcp.labels" (dict "root" .root "component" .component) | nindent 4 }}
  annotations:
    {{- include "linkerd-mcp.annotations" (dict "root" .root "extra" dict) | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "linkerd-mcp.selector" (dict "component" .component) | nindent 6 }}
  port: {{ .port }}
  proxyProtocol: {{ .protocol }}
  accessPolicy: deny
{{- end }}

{{/* Yes, when somebody in the mesh may scrape us. */}}
{{- define "linkerd-mcp.scraped" -}}
{{- if or .Values.viz.enabled .Values.metrics.scrapers }}yes{{ end }}
{{- end }}

{{/* Lets scrapers into a Server, from root, component and server. The kubelet's probes need no policy: no route is attached. */}}
{{- define "linkerd-mcp.scrapes" -}}
{{- if include "linkerd-mcp.scraped" .root }}
---
{{ include "linkerd-mcp.authorization" (dict "root" .root "component" .component "name" .server "server" .server "kind" "MeshTLSAuthentication" "ref" "mcp-scrapers") }}
{{- end }}
{{- if .root.Values.metrics.networks }}
---
{{ include "linkerd-mcp.authorization" (dict "root" .root "component" .component "name" (printf "%s-networks" .server) "server" .server "kind" "NetworkAuthentication" "ref" "mcp-scrapers") }}
{{- end }}
{{- end }}

{{/* What every pod of ours needs to reach, and what those need that talk to the API server. */}}
{{- define "linkerd-mcp.egress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Values.linkerdNamespace | quote }}
    - podSelector:
        matchLabels:
          linkerd.io/extension: mcp
{{- end }}

{{- define "linkerd-mcp.egress.apiserver" -}}
- ports:
    {{- range .Values.networkPolicy.egress.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
  to:
    {{- range .Values.networkPolicy.egress.apiServerNetworks }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
{{- end }}
