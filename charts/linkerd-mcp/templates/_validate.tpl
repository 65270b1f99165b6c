{{/* What a schema cannot say: values that do not go together. */}}
{{- define "linkerd-mcp.validate" -}}
{{- $redis := .Values.redis }}
{{- $external := $redis.external }}
{{- $exposed := include "linkerd-mcp.api.exposed" . }}
{{- if eq .Release.Namespace .Values.linkerdNamespace }}
{{- fail (printf "linkerd-mcp cannot be installed into the namespace of Linkerd's control plane, %s: give it one of its own, such as linkerd-mcp" .Release.Namespace) }}
{{- end }}
{{- if or (eq (int .Values.runAsUser) 2102) (eq (int $redis.runAsUser) 2102) }}
{{- fail "user 2102 is that of Linkerd's proxy: what runs as it goes past the proxy, so take another for runAsUser" }}
{{- end }}
{{- range $subjects := list .Values.authorization.viewers .Values.authorization.editors }}
{{- range $subjects }}
{{- if and (eq .kind "ServiceAccount") (not .namespace) }}
{{- fail (printf "authorization names the ServiceAccount %s without its namespace" .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $redis.enabled }}
{{- if or $external.url $external.urlSecret.name $external.sentinels }}
{{- fail "redis.external names another Redis, but redis.enabled is true: set redis.enabled=false to use it" }}
{{- end }}
{{- if or (not $redis.controller.user) (not $redis.api.user) (eq $redis.controller.user "default") (eq $redis.api.user "default") (eq $redis.controller.user $redis.api.user) }}
{{- fail "redis.controller.user and redis.api.user have to be two users, neither of them default, because each may do other things" }}
{{- end }}
{{- if and $redis.controller.passwordSecret.name (not $redis.api.passwordSecret.name) }}
{{- fail "redis.controller.passwordSecret is set and redis.api.passwordSecret is not: give both users a password, or neither" }}
{{- end }}
{{- if and $redis.api.passwordSecret.name (not $redis.controller.passwordSecret.name) }}
{{- fail "redis.api.passwordSecret is set and redis.controller.passwordSecret is not: give both users a password, or neither" }}
{{- end }}
{{- else }}
{{- if not (or $external.url $external.urlSecret.name $external.sentinels) }}
{{- fail "redis.enabled is false and no other Redis is named: set redis.external.url, redis.external.urlSecret.name or redis.external.sentinels" }}
{{- end }}
{{- if or (and $external.url $external.urlSecret.name) (and $external.url $external.sentinels) (and $external.urlSecret.name $external.sentinels) }}
{{- fail "redis.external names Redis more than once: set only one of url, urlSecret.name and sentinels" }}
{{- end }}
{{- if and $external.sentinels (not $external.sentinelMaster) }}
{{- fail "redis.external.sentinels needs redis.external.sentinelMaster, the name that the Sentinels have for the master" }}
{{- end }}
{{- if and $external.sentinels $external.cluster }}
{{- fail "redis.external.cluster and redis.external.sentinels do not go together: Redis Cluster has no Sentinels" }}
{{- end }}
{{- end }}
{{- if not $exposed }}
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled .Values.api.clients.serviceAccounts .Values.api.clients.identities .Values.api.clients.networks }}
{{- fail "api.mesh.enabled is false, so nobody outside the pod reaches the API: an Ingress, an HTTPRoute and api.clients need it" }}
{{- end }}
{{- end }}
{{- $oauth := .Values.api.oauth }}
{{- if $oauth.issuer }}
{{- if not (and $oauth.audience $oauth.gateways) }}
{{- fail "api.oauth.issuer needs api.oauth.audience, the URL that clients call, and api.oauth.gateways, the mesh identities of the ingresses that bring tokens" }}
{{- end }}
{{- if not $exposed }}
{{- fail "api.oauth.issuer needs api.mesh.enabled: access tokens are accepted from ingresses in the mesh" }}
{{- end }}
{{- else if or $oauth.audience $oauth.gateways $oauth.jwksUrl $oauth.scopes $oauth.groupsClaim }}
{{- fail "api.oauth has values that mean nothing without api.oauth.issuer" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.enabled needs ingress.host" }}
{{- end }}
{{- if and .Values.ingress.issuer (not .Values.ingress.tlsSecret) }}
{{- fail "ingress.issuer needs ingress.tlsSecret, the Secret that cert-manager puts the certificate into" }}
{{- end }}
{{- if .Values.httpRoute.enabled }}
{{- if not (or .Values.httpRoute.parentRefs .Values.httpRoute.gateway.enabled) }}
{{- fail "httpRoute.enabled needs a Gateway: set httpRoute.parentRefs or httpRoute.gateway.enabled" }}
{{- end }}
{{- if and .Values.httpRoute.gateway.enabled (not .Values.httpRoute.hostnames) }}
{{- fail "httpRoute.gateway.enabled needs httpRoute.hostnames, for the certificate" }}
{{- end }}
{{- if and .Values.httpRoute.gateway.enabled (not .Values.httpRoute.gateway.className) }}
{{- fail "httpRoute.gateway.enabled needs httpRoute.gateway.className" }}
{{- end }}
{{- end }}
{{- if and .Values.prometheus.user (not .Values.prometheus.passwordSecret.name) }}
{{- fail "prometheus.user needs prometheus.passwordSecret.name" }}
{{- end }}
{{- if and .Values.prometheus.passwordSecret.name (not .Values.prometheus.user) }}
{{- fail "prometheus.passwordSecret needs prometheus.user" }}
{{- end }}
{{- if and .Values.prometheus.user .Values.prometheus.tokenSecret.name }}
{{- fail "prometheus.user and prometheus.tokenSecret are two ways to log in: set one" }}
{{- end }}
{{- if and .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled }}
{{- fail "metrics.podMonitor and metrics.serviceMonitor would scrape everything twice: enable one" }}
{{- end }}
{{- if ge (int .Values.api.drainSeconds) (int .Values.api.terminationGracePeriodSeconds) }}
{{- fail (printf "api.drainSeconds is %d and has to be less than api.terminationGracePeriodSeconds, %d, or requests are cut off" (int .Values.api.drainSeconds) (int .Values.api.terminationGracePeriodSeconds)) }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas, %d, is more than autoscaling.maxReplicas, %d" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- end }}
{{- end }}
