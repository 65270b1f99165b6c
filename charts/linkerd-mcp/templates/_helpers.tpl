{{/* Labels of an object, from root, component and extra; ours win. component may be empty, and extra missing. A map that somebody set to null is none. */}}
{{- define "linkerd-mcp.labels" -}}
{{- $own := dict "linkerd.io/extension" "mcp" "app.kubernetes.io/part-of" "Linkerd" "app.kubernetes.io/version" .root.Chart.AppVersion }}
{{- if .component }}
{{- $_ := set $own "component" .component }}
{{- $_ := set $own "app.kubernetes.io/name" .component }}
{{- end }}
{{- toYaml (merge $own (default dict .extra) (default dict .root.Values.commonLabels)) }}
{{- end }}

{{/* Labels that select the pods of a component. They never change: a Deployment's selector cannot. */}}
{{- define "linkerd-mcp.selector" -}}
component: {{ .component }}
linkerd.io/extension: mcp
{{- end }}

{{/* Annotations of an object, from root and extra, which may be empty. */}}
{{- define "linkerd-mcp.annotations" -}}
{{- $own := dict "linkerd.io/created-by" (include "linkerd-mcp.created-by" .root) }}
{{- toYaml (merge $own (default dict .extra) (default dict .root.Values.commonAnnotations)) }}
{{- end }}

{{- define "linkerd-mcp.created-by" -}}
{{- if eq .Release.Service "CLI" }}linkerd-mcp/cli{{ else }}linkerd-mcp/helm{{ end }} {{ .Chart.AppVersion }}
{{- end }}

{{/* Labels of a pod, from root, component and values (those of the component). */}}
{{- define "linkerd-mcp.pod.labels" -}}
{{- $own := dict "linkerd.io/extension" "mcp" "component" .component "app.kubernetes.io/name" .component "app.kubernetes.io/part-of" "Linkerd" "app.kubernetes.io/version" .root.Chart.AppVersion }}
{{- toYaml (merge $own (default dict .values.podLabels) (default dict .root.Values.podLabels) (default dict .root.Values.commonLabels)) }}
{{- end }}

{{/*
Annotations of a pod, from root, values and extra. Whoever sets one of ours gets their own. Every port is closed unless a
Server and an AuthorizationPolicy of ours open it.
*/}}
{{- define "linkerd-mcp.pod.annotations" -}}
{{- $own := dict "linkerd.io/created-by" (include "linkerd-mcp.created-by" .root) "linkerd.io/inject" "enabled" "config.linkerd.io/proxy-await" "enabled" "config.linkerd.io/default-inbound-policy" "deny" "config.alpha.linkerd.io/proxy-wait-before-exit-seconds" "0" "cluster-autoscaler.kubernetes.io/safe-to-evict" "true" }}
{{- if eq .root.Values.proxy.nativeSidecar "enabled" }}
{{- $_ := set $own "config.beta.linkerd.io/proxy-enable-native-sidecar" "true" }}
{{- else if eq .root.Values.proxy.nativeSidecar "disabled" }}
{{- $_ := set $own "config.beta.linkerd.io/proxy-enable-native-sidecar" "false" }}
{{- end }}
{{- toYaml (merge (dict) (default dict .values.podAnnotations) (default dict .root.Values.podAnnotations) (default dict .root.Values.proxy.annotations) .extra $own (default dict .root.Values.commonAnnotations)) }}
{{- end }}

{{/* Where pods run, from root, component and values. */}}
{{- define "linkerd-mcp.pod.scheduling" -}}
{{- with .values.nodeSelector | default .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations | default .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* How replicas keep apart, from root, component and values. */}}
{{- define "linkerd-mcp.pod.spreading" -}}
{{- if .values.affinity }}
affinity:
  {{- toYaml .values.affinity | nindent 2 }}
{{- else if eq .root.Values.antiAffinity "required" }}
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "linkerd-mcp.selector" . | nindent 12 }}
{{- else if eq .root.Values.antiAffinity "preferred" }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "linkerd-mcp.selector" . | nindent 14 }}
{{- end }}
{{- if ne .root.Values.zoneSpread "none" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ if eq .root.Values.zoneSpread "required" }}DoNotSchedule{{ else }}ScheduleAnyway{{ end }}
    labelSelector:
      matchLabels:
        {{- include "linkerd-mcp.selector" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* With one replica to a node, a rollout on as many nodes as replicas has to take one away before it adds one. */}}
{{- define "linkerd-mcp.strategy" -}}
type: RollingUpdate
rollingUpdate:
  {{- if eq .Values.antiAffinity "required" }}
  maxUnavailable: 1
  {{- else }}
  maxUnavailable: 0
  {{- end }}
  maxSurge: 1
{{- end }}

{{/* What Pod Security `restricted` asks of a pod and of a container. */}}
{{- define "linkerd-mcp.pod.security" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "linkerd-mcp.container.security" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end }}

{{/* The token for the API server, mounted by hand: short-lived, and in no other container than ours. */}}
{{- define "linkerd-mcp.token.volume" -}}
- name: kube-api-access
  projected:
    defaultMode: 288 # 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}

{{- define "linkerd-mcp.token.mount" -}}
- name: kube-api-access
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{/* The image of a component, from root and image. */}}
{{- define "linkerd-mcp.image" -}}
{{ .root.Values.image.registry }}/{{ .image.name }}:{{ .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "linkerd-mcp.log.env" -}}
- name: LINKERD_MCP_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
{{- with .Values.log.filter }}
- name: LINKERD_MCP_LOG
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* A volume with one key of a Secret, from volume, secret (name and key) and path. */}}
{{- define "linkerd-mcp.secret.volume" -}}
- name: {{ .volume }}
  secret:
    secretName: {{ .secret.name | quote }}
    defaultMode: 288 # 0440
    items:
      - key: {{ .secret.key | quote }}
        path: {{ .path }}
{{- end }}

{{/* Yes, when callers in the mesh reach the API. */}}
{{- define "linkerd-mcp.api.exposed" -}}
{{- if .Values.api.mesh.enabled }}yes{{ end }}
{{- end }}

{{/* Names that HTTP requests may call the API by, between commas. */}}
{{- define "linkerd-mcp.api.hosts" -}}
{{- $service := printf "mcp-api.%s" .Release.Namespace }}
{{- printf "mcp-api,%s,%s.svc,%s.svc.%s" $service $service $service .Values.clusterDomain }}
{{- if .Values.ingress.enabled }},{{ .Values.ingress.host }}{{ end }}
{{- if .Values.httpRoute.enabled }}
{{- range .Values.httpRoute.hostnames }},{{ . }}{{ end }}
{{- end }}
{{- range .Values.api.mesh.hosts }},{{ . }}{{ end }}
{{- end }}
