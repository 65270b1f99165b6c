//! A workload `web` on port 8080, and the policy that lets the clients of its namespace in. `NS` is the namespace.

/// Its pod, which has a proxy.
pub const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: NS
  labels: {app: web, linkerd.io/control-plane-ns: linkerd}
  annotations: {linkerd.io/proxy-version: edge-26.8.3}
spec:
  serviceAccountName: web
  automountServiceAccountToken: false
  containers:
    - {name: web, image: 'example/web:1', ports: [{name: http, containerPort: 8080}]}
    - {name: linkerd-proxy, image: 'example/proxy:1', ports: [{name: linkerd-proxy, containerPort: 4143}, {name: linkerd-admin, containerPort: 4191}]}
---";

/// A Server, an authentication, and the policy that joins them. They name no namespace.
pub const THREE: &str = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web, labels: {app: web}}
spec: {podSelector: {matchLabels: {app: web}}, port: 8080, proxyProtocol: HTTP/1}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: web}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: web}
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: clients}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: clients}
spec: {identityRefs: [{kind: ServiceAccount, name: web}]}
";
