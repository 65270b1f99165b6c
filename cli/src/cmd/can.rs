//! `linkerd-mcp can`: may this client make this call, and why. The answer is the exit code, too.

mod text;

use crate::{
    args::{Globals, Usage, manifests::ManifestArgs},
    name,
    output::policy,
    source::{Asked, say_freshness},
    terminal,
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::{CheckAccessRequest, CheckAccessResponse, Freshness, Header};
use std::{net::IpAddr, process::ExitCode, str::FromStr};

const AFTER_HELP: &str = "\
FROM is a workload (web, deploy/web, shop/deploy/web), a ServiceAccount (sa/web), a mesh identity, or the IP address of
a client outside the mesh. TO is a Service or workload with or without its port (web:80, deploy/web:8080), or
external:IP:PORT. Without a request the question is about a connection, or about any request at all.

Exit codes:
  0  allowed; audited counts as allowed
  1  denied, or no route takes the request; also when only some of the pods deny it
  2  cannot be answered: an unknown name, an API that cannot be reached, a document that cannot be read, ...

Examples:
  linkerd-mcp can deploy/web svc/cart:80 -n shop
  linkerd-mcp can web cart:80 -n shop --method POST --path /checkout
  linkerd-mcp can sa/ci shop/deploy/payments:9090 -n build --grpc pay.v1.Payments/Refund
  linkerd-mcp can 203.0.113.7 shop/web:80
  helm template chart/ | linkerd-mcp can web cart:80 -n shop -f -";

/// Arguments of `can`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CanArgs {
    /// Who calls
    #[arg(value_name = "FROM")]
    from: String,

    /// What is called
    #[arg(value_name = "TO[:PORT]")]
    to: String,

    /// Namespace of names without one [default: that of the kubeconfig context; with -f or --api-addr every one]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Method of the request [default: GET with --path]
    #[arg(long, value_name = "METHOD", requires = "path")]
    method: Option<String>,

    /// Path of the request
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Host of the request
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Header of the request; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<RequestHeader>,

    /// The request as a gRPC method
    #[arg(long, value_name = "PACKAGE.SERVICE/METHOD", conflicts_with_all = ["method", "path"])]
    grpc: Option<GrpcMethod>,

    /// Address the client calls from [default: those of its pods]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,

    #[command(flatten)]
    manifests: ManifestArgs,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Sentences
    Table,
    /// The message CheckAccessResponse
    Json,
}

/// `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RequestHeader {
    name: String,
    value: String,
}

/// `package.Service/Method`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct GrpcMethod(String);

/// Asks, prints, and answers by the exit code.
pub(crate) async fn run(globals: &Globals, args: CanArgs) -> anyhow::Result<ExitCode> {
    args.validate()?;
    let asked = Asked::open(globals, &args.manifests, args.namespace.as_deref()).await?;
    asked.say_ignored();
    let request = args.request(asked.namespace.as_deref())?;
    let answer = asked.check(request.clone()).await?;
    let printed = match args.output {
        Format::Table => text::print(&answer, &request),
        Format::Json => policy::json(&answer),
    };
    terminal::data_if_read(printed.as_bytes())?;
    say_freshness(answer.freshness.as_ref());
    asked.complete()?;
    if let Some(doubt) = doubt(&answer) {
        anyhow::bail!(doubt);
    }
    Ok(ExitCode::from(if policy::lets_in(answer.decision()) { 0 } else { 1 }))
}

/// Why an answer that allows a call cannot be relied on: policies that were never read would have been asked.
fn doubt(answer: &CheckAccessResponse) -> Option<String> {
    policy::lets_in(answer.decision()).then(|| unread(answer.freshness.as_ref())).flatten()
}

/// The kinds of policies that the API has never read.
fn unread(freshness: Option<&Freshness>) -> Option<String> {
    let topology = freshness?.topology.as_ref()?;
    let kinds: Vec<&str> = topology
        .not_synced
        .iter()
        .filter(|it| it.state != "failing")
        .map(|it| it.kind.as_str())
        .filter(|kind| kind.contains("policy.linkerd.io") || kind.contains("routes.") || *kind == "pods")
        .collect();
    (!kinds.is_empty()).then(|| {
        format!(
            "linkerd-mcp has not read {}, so whether the call is allowed is not certain",
            kinds.join(", ")
        )
    })
}

// === impl CanArgs ===

impl CanArgs {
    /// What clap cannot check.
    fn validate(&self) -> Result<(), Usage> {
        let request = self.path.is_some() || self.grpc.is_some();
        match () {
            () if !request && (self.host.is_some() || !self.header.is_empty()) => {
                Err(Usage("--host and --header are of a request: add --path or --grpc".to_owned()))
            }
            () if self.path.as_deref().is_some_and(|path| !path.starts_with('/')) => {
                Err(Usage("--path begins with a slash, as in /api/cart".to_owned()))
            }
            () => Ok(()),
        }
    }

    /// The question.
    fn request(&self, namespace: Option<&str>) -> Result<CheckAccessRequest, Usage> {
        let (method, path) = match (&self.grpc, &self.path) {
            (Some(GrpcMethod(method)), _) => ("POST".to_owned(), format!("/{method}")),
            (None, Some(path)) => (self.method.clone().unwrap_or_else(|| "GET".to_owned()), path.clone()),
            (None, None) => (String::new(), String::new()),
        };
        let header =
            |header: &RequestHeader| Header { name: header.name.clone(), value: header.value.clone() };
        Ok(CheckAccessRequest {
            from: name::client(&self.from, namespace)?,
            to: name::target(&self.to, namespace)?,
            port: 0,
            // Names that bring no namespace have got theirs.
            namespace: String::new(),
            method,
            path,
            host: self.host.clone().unwrap_or_default(),
            headers: self.header.iter().map(header).collect(),
            address: self.address.map(|address| address.to_string()).unwrap_or_default(),
        })
    }
}

impl FromStr for RequestHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as in x-user=alice")?;
        match name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic() && c != ':') {
            true => Err("that is no name of a header; write NAME=VALUE, as in x-user=alice"),
            false => Ok(Self { name: name.to_ascii_lowercase(), value: value.to_owned() }),
        }
    }
}

impl FromStr for GrpcMethod {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix('/').unwrap_or(text);
        match text.split('/').collect::<Vec<_>>()[..] {
            [service, method] if !service.is_empty() && !method.is_empty() => Ok(Self(text.to_owned())),
            _ => Err("write PACKAGE.SERVICE/METHOD, as in emojivoto.v1.VotingService/VoteDoughnut"),
        }
    }
}

#[cfg(test)]
mod tests;
