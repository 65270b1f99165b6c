//! Why a question got no answer, and what to do about it.

use std::{error::Error as _, fmt::Write as _, path::PathBuf};
use tonic::{Code, Status};

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No kubeconfig file, and not in a pod.
    #[error("there is no kubeconfig")]
    NoKubeconfig,
    /// A kubeconfig that cannot be used.
    #[error("the kubeconfig{} cannot be used", named(.path))]
    Kubeconfig {
        path: Option<PathBuf>,
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// In a pod whose ServiceAccount cannot be used.
    #[error("the ServiceAccount of this pod cannot be used")]
    InCluster {
        #[source]
        source: kube::config::InClusterError,
    },
    /// The configuration makes no client.
    #[error("no Kubernetes client can be made from the kubeconfig")]
    Client {
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server does not answer.
    #[error("the Kubernetes API at {url} cannot be reached")]
    Unreachable {
        url: String,
        #[source]
        source: tower::BoxError,
    },
    /// The API server does not answer in time.
    #[error("the Kubernetes API at {url} does not answer within {seconds} seconds")]
    Slow { url: String, seconds: u64 },
    /// The credentials are missing or refused.
    #[error("the Kubernetes API at {url} does not accept the credentials of the kubeconfig")]
    Unauthorized {
        url: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// RBAC refuses a step.
    #[error("you may not {doing}: {sentence}")]
    Forbidden { doing: String, sentence: String },
    /// The API server refuses for another reason.
    #[error("the Kubernetes API refused to {doing}: {sentence}")]
    Refused { doing: String, sentence: String },
    /// No token by which the API would know who asks.
    #[error("you get no token of ServiceAccount {account}, as which the API would know you: {sentence}")]
    NoToken { account: String, sentence: String },
    /// No namespace with our label.
    #[error("the linkerd-mcp extension is not installed in the cluster at {url}")]
    NotInstalled { url: String },
    /// The namespace has no pod of the API.
    #[error("there is no linkerd-mcp API pod in namespace {namespace}")]
    NoPod { namespace: String },
    /// There are pods, none of which runs.
    #[error("no linkerd-mcp API pod in namespace {namespace} is running: {seen}")]
    NoRunningPod { namespace: String, seen: String },
    /// The port-forward could not be opened.
    #[error("no port could be forwarded to pod {pod}")]
    Forward {
        pod: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// Nothing listens there.
    #[error("nothing answers at {address}")]
    Connect {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// An address that makes no URL.
    #[error("the address cannot be used")]
    Endpoint {
        #[source]
        source: tonic::transport::Error,
    },
    /// Something else listens there.
    #[error("what answers at {place} is not a linkerd-mcp ({said})")]
    NotOurs { place: String, said: String },
    /// It is ours, and older than this command.
    #[error("the linkerd-mcp at {place} does not know this question yet")]
    TooOld { place: String },
    /// The connection broke.
    #[error("the connection to {place} broke: {said}")]
    Lost { place: String, said: String },
    /// It is there and silent.
    #[error("{place} did not answer within {seconds} seconds")]
    NoAnswer { place: String, seconds: u64 },
    /// It cannot answer yet, or not any more.
    #[error("linkerd-mcp cannot answer now: {sentence}")]
    NotReady { sentence: String },
    /// It answered with a refusal.
    #[error("{sentence}")]
    Answered { code: Code, sentence: String },
}

fn named(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default()
}

// === impl Error ===

impl Error {
    /// What a gRPC status means.
    pub(crate) fn answered(place: &str, status: Status) -> Self {
        let place = place.to_owned();
        if status.source().is_some() {
            // Not sent by a server of ours: the connection, or something that speaks no gRPC.
            let said = said(&status);
            return match ["http2 error", "h2 protocol error", "frame with invalid size", "invalid HTTP"]
                .iter()
                .any(|mark| said.contains(mark))
                && !said.contains("keep-alive")
                && !said.contains("connection reset")
            {
                true => Self::NotOurs { place, said },
                false => Self::Lost { place, said },
            };
        }
        let sentence = status.message().to_owned();
        match status.code() {
            // Its own words: see `MeshContext` in the API.
            Code::Unimplemented if sentence.starts_with("mcp.v1.MeshContext has no method") => {
                Self::TooOld { place }
            }
            Code::Unimplemented => {
                let said =
                    if sentence.is_empty() { "it does not know the question".into() } else { sentence };
                Self::NotOurs { place, said }
            }
            // tonic's own words for an HTTP answer without gRPC in it.
            Code::Unknown | Code::Internal | Code::Unavailable | Code::PermissionDenied
                if sentence.contains("content-type") || sentence.contains("HTTP status code") =>
            {
                Self::NotOurs { place, said: sentence }
            }
            Code::Unavailable => Self::NotReady { sentence },
            code if sentence.is_empty() => Self::Answered { code, sentence: code.description().to_owned() },
            code => Self::Answered { code, sentence },
        }
    }

    /// What a Kubernetes error means while `doing` something.
    pub(crate) fn kubernetes(url: &http::Uri, doing: &str, error: kube::Error) -> Self {
        let (url, doing) = (url.to_string(), doing.to_owned());
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Self::Unauthorized { url, source: Box::new(kube::Error::Api(status)) },
                403 => Self::Forbidden { doing, sentence: status.message },
                _ => Self::Refused { doing, sentence: status.message },
            },
            kube::Error::Auth(_) => Self::Unauthorized { url, source: Box::new(error) },
            kube::Error::Service(source) => Self::Unreachable { url, source },
            kube::Error::HyperError(source) => Self::Unreachable { url, source: source.into() },
            error => Self::Refused { doing, sentence: error.to_string() },
        }
    }

    /// True when this machine may have a linkerd-mcp of its own that is meant instead.
    pub(crate) fn leaves_room_for_local(&self) -> bool {
        matches!(
            self,
            Self::NoKubeconfig | Self::NotInstalled { .. } | Self::Unreachable { .. } | Self::Slow { .. }
        )
    }

    /// True when asking again cannot help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::NotOurs { .. }
            | Self::TooOld { .. }
            | Self::Forbidden { .. }
            | Self::NoToken { .. }
            | Self::Unauthorized { .. } => true,
            Self::Answered { code, .. } => !matches!(
                code,
                Code::Unknown
                    | Code::Internal
                    | Code::Aborted
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::DataLoss
                    | Code::Ok
            ),
            _ => false,
        }
    }

    /// What to do, where that is known.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKubeconfig => Some(
                "set KUBECONFIG, give --api-addr, or run `linkerd-mcp demo` in another terminal for a mesh \
                 without a cluster",
            ),
            Self::Kubeconfig { .. } => {
                Some("choose another with --kubeconfig or --context, or give --api-addr")
            }
            Self::Unreachable { .. } | Self::Slow { .. } => Some(
                "is the cluster running? choose another with --context, give --api-addr, or run `linkerd-mcp \
                 demo` in another terminal",
            ),
            Self::Unauthorized { .. } => {
                Some("log in to the cluster again, or choose another with --context")
            }
            Self::Forbidden { .. } => Some(
                "ask for get and list on pods and create on pods/portforward in the extension's namespace, or \
                 give --api-addr",
            ),
            Self::NoToken { .. } => Some(
                "ask for create on serviceaccounts/token of that ServiceAccount in its namespace, or name another \
                 with --as-service-account NAMESPACE/NAME",
            ),
            Self::NotInstalled { .. } => Some(
                "install the extension, name its namespace with --mcp-namespace, run `linkerd-mcp serve` against \
                 this cluster, or give --api-addr",
            ),
            Self::NoPod { .. } | Self::NoRunningPod { .. } => Some(
                "see the pods with label component=mcp-api, or name another namespace with --mcp-namespace",
            ),
            Self::Connect { .. } => {
                Some("is linkerd-mcp running there? `linkerd-mcp serve` or `linkerd-mcp demo` starts one")
            }
            Self::NotOurs { .. } => Some("give --api-addr the address of the gRPC port, 8086 unless changed"),
            Self::TooOld { .. } => {
                Some("run the API in this command's version; `linkerd-mcp version` shows both")
            }
            Self::NotReady { .. } => Some("it may still be starting; try again, or see its logs"),
            Self::Answered { code: Code::Unauthenticated, .. } => Some(
                "leave out --api-addr to go through the Kubernetes API, which gives a token, or name a ServiceAccount \
                 with --as-service-account NAMESPACE/NAME",
            ),
            Self::Answered { code: Code::NotFound, .. } => {
                Some("`linkerd-mcp graph -A` shows every namespace and what is in it")
            }
            _ => None,
        }
    }
}

/// Everything that a status and its causes say, each once.
fn said(status: &Status) -> String {
    let mut said = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            let separator = if said.is_empty() { "" } else { ": " };
            let _ = write!(said, "{separator}{text}");
        }
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_servers_sentence_and_a_stranger_is_told_apart() {
        let answered = |status| Error::answered("127.0.0.1:8086", status);
        let unknown = answered(Status::not_found("there is no namespace `shop`"));
        assert_eq!(unknown.to_string(), "there is no namespace `shop`");
        assert!(unknown.is_final());
        assert_eq!(
            answered(Status::unimplemented("")).to_string(),
            "what answers at 127.0.0.1:8086 is not a linkerd-mcp (it does not know the question)"
        );
        let older = "mcp.v1.MeshContext has no method `LintPolicies`; reflection lists what there is";
        assert!(matches!(answered(Status::unimplemented(older)), Error::TooOld { .. }));
        assert!(matches!(answered(Status::unavailable("no snapshot yet")), Error::NotReady { .. }));
        assert!(!answered(Status::internal("hiccup")).is_final());
    }

    #[test]
    fn only_a_missing_cluster_leaves_room_for_a_mesh_on_this_machine() {
        assert!(Error::NoKubeconfig.leaves_room_for_local());
        assert!(Error::NotInstalled { url: String::new() }.leaves_room_for_local());
        assert!(!Error::NoPod { namespace: "linkerd-mcp".into() }.leaves_room_for_local());
        assert!(!Error::Forbidden { doing: String::new(), sentence: String::new() }.leaves_room_for_local());
    }
}
