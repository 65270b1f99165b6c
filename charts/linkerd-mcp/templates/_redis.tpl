{{/* How a component reaches Redis: environment, mounts and volumes, each from root and login (user and passwordSecret). */}}
{{- define "linkerd-mcp.redis.env" -}}
{{- $redis := .root.Values.redis }}
{{- $external := $redis.external }}
{{- if $redis.enabled }}
- name: LINKERD_MCP_REDIS_URL
  value: redis://mcp-redis.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}:6379
{{- else if $external.urlSecret.name }}
- name: LINKERD_MCP_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ $external.urlSecret.name | quote }}
      key: {{ $external.urlSecret.key | quote }}
{{- else if $external.url }}
- name: LINKERD_MCP_REDIS_URL
  value: {{ $external.url | quote }}
{{- else }}
- name: LINKERD_MCP_REDIS_SENTINEL
  value: {{ join "," $external.sentinels | quote }}
- name: LINKERD_MCP_REDIS_SENTINEL_MASTER
  value: {{ $external.sentinelMaster | quote }}
{{- with $external.sentinelUser }}
- name: LINKERD_MCP_REDIS_SENTINEL_USER
  value: {{ . | quote }}
{{- end }}
{{- if $external.sentinelPasswordSecret.name }}
- name: LINKERD_MCP_REDIS_SENTINEL_PASSWORD_FILE
  value: /etc/linkerd-mcp/redis-sentinel/password
{{- end }}
{{- end }}
{{- with .login.user }}
- name: LINKERD_MCP_REDIS_USER
  value: {{ . | quote }}
{{- end }}
{{- if .login.passwordSecret.name }}
- name: LINKERD_MCP_REDIS_PASSWORD_FILE
  value: /etc/linkerd-mcp/redis/password
{{- else if $redis.enabled }}
# No secret: the user has no password, but a login without one is not sent at all, and then we would be another user.
- name: LINKERD_MCP_REDIS_PASSWORD
  value: none
{{- end }}
{{- if not $redis.enabled }}
{{- if $external.cluster }}
- name: LINKERD_MCP_REDIS_CLUSTER
  value: "true"
{{- end }}
{{- with $external.prefix }}
- name: LINKERD_MCP_REDIS_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- if $external.tls }}
- name: LINKERD_MCP_REDIS_TLS
  value: "true"
{{- end }}
{{- if $external.caSecret.name }}
- name: LINKERD_MCP_REDIS_CA_FILE
  value: /etc/linkerd-mcp/redis-ca/ca.crt
{{- end }}
{{- if $external.certSecret.name }}
- name: LINKERD_MCP_REDIS_CERT_FILE
  value: /etc/linkerd-mcp/redis-cert/tls.crt
- name: LINKERD_MCP_REDIS_KEY_FILE
  value: /etc/linkerd-mcp/redis-cert/tls.key
{{- end }}
{{- end }}
{{- end }}

{{- define "linkerd-mcp.redis.mounts" -}}
{{- $external := .root.Values.redis.external }}
{{- if .login.passwordSecret.name }}
- name: redis-password
  mountPath: /etc/linkerd-mcp/redis
  readOnly: true
{{- end }}
{{- if not .root.Values.redis.enabled }}
{{- if $external.sentinelPasswordSecret.name }}
- name: redis-sentinel-password
  mountPath: /etc/linkerd-mcp/redis-sentinel
  readOnly: true
{{- end }}
{{- if $external.caSecret.name }}
- name: redis-ca
  mountPath: /etc/linkerd-mcp/redis-ca
  readOnly: true
{{- end }}
{{- if $external.certSecret.name }}
- name: redis-cert
  mountPath: /etc/linkerd-mcp/redis-cert
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "linkerd-mcp.redis.volumes" -}}
{{- $external := .root.Values.redis.external }}
{{- if .login.passwordSecret.name }}
{{ include "linkerd-mcp.secret.volume" (dict "volume" "redis-password" "secret" .login.passwordSecret "path" "password") }}
{{- end }}
{{- if not .root.Values.redis.enabled }}
{{- if $external.sentinelPasswordSecret.name }}
{{ include "linkerd-mcp.secret.volume" (dict "volume" "redis-sentinel-password" "secret" $external.sentinelPasswordSecret "path" "password") }}
{{- end }}
{{- if $external.caSecret.name }}
{{ include "linkerd-mcp.secret.volume" (dict "volume" "redis-ca" "secret" $external.caSecret "path" "ca.crt") }}
{{- end }}
{{- if $external.certSecret.name }}
- name: redis-cert
  secret:
    secretName: {{ $external.certSecret.name | quote }}
    defaultMode: 288 # 0440
{{- end }}
{{- end }}
{{- end }}

{{/*
Valkey's ACL: the two users of docs/redis.md, and `default`, who may only ping: the probes. With passwords their hashes
are put in when the container starts.
*/}}
{{- define "linkerd-mcp.redis.acl" -}}
{{- $secret := .Values.redis.controller.passwordSecret.name -}}
user default on nopass resetkeys resetchannels -@all +ping
user {{ .Values.redis.controller.user }} on {{ if $secret }}#@controller@{{ else }}nopass{{ end }} resetkeys ~mcp:leader ~mcp:epoch ~mesh:snapshot ~mesh:metrics ~mesh:deltas resetchannels &mesh:delta &mesh:metrics &mesh:resync -@all +get +set +del +pexpire +pttl +time +xadd +xrevrange +publish +subscribe +ping +evalsha +script|load +multi +discard +config|get +info
user {{ .Values.redis.api.user }} on {{ if $secret }}#@api@{{ else }}nopass{{ end }} resetkeys %R~mcp:epoch %R~mesh:snapshot %R~mesh:metrics %R~mesh:deltas{{ if not .Values.readOnly }} ~mcp:plan:* ~mcp:changes ~mcp:change:* ~mcp:guards ~mcp:guard:*{{ end }} resetchannels &mesh:delta &mesh:metrics &mesh:resync -@all +get +mget +xrange +publish +subscribe +multi +discard +config|get +info{{ if not .Values.readOnly }} +set +getdel +del +pexpire +xadd +xrevrange +xdel +hset +hdel +hgetall{{ end }}
{{- end }}

{{- define "linkerd-mcp.redis.conf" -}}
bind * -::*
port 6379
# Linkerd's policy and the NetworkPolicy say who may connect.
protected-mode no
dir /data
save ""
appendonly no
maxmemory {{ .Values.redis.maxmemory }}
maxmemory-policy noeviction
{{- if not .Values.redis.controller.passwordSecret.name }}
aclfile /etc/valkey/users.acl
{{- end }}
{{- end }}
