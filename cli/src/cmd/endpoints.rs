//! `linkerd-mcp endpoints`: what proxies are told about the endpoints of a Service, as `linkerd diagnostics endpoints`
//! asks it, and what of it differs from the graph.

mod text;

use crate::{
    args::Globals,
    client, name,
    output::policy,
    source::say_freshness,
    terminal::{self, Spinner},
};
use clap::{Args, ValueEnum};
use linkerd_mcp_proto::v1::CompareEndpointsRequest;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit codes:
  0  nothing differs from the graph
  1  something does
  2  cannot be answered: an unknown Service, a controller that does not answer, ...

Examples:
  linkerd-mcp endpoints cart -n shop
  linkerd-mcp endpoints shop/cart:80 --client-namespace ops";

/// Arguments of `endpoints`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EndpointsArgs {
    /// The Service, with its port where it has several: cart, svc/cart:80 or shop/cart:80
    #[arg(value_name = "SERVICE[:PORT]")]
    service: String,

    /// Namespace of the Service [default: that of the kubeconfig context; any with --api-addr]
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Namespace of the client that would be told [default: that of the Service]
    #[arg(long, value_name = "NAMESPACE")]
    client_namespace: Option<String>,

    /// Format of the output
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Format,
}

/// What the answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row per endpoint, then what differs as sentences
    Table,
    /// The message CompareEndpointsResponse
    Json,
}

/// Asks, prints, and answers by the exit code.
pub(crate) async fn run(globals: &Globals, args: EndpointsArgs) -> anyhow::Result<ExitCode> {
    let mesh = client::connect(globals).await?;
    let namespace = args.namespace.as_deref().or(mesh.namespace.as_deref());
    let request = CompareEndpointsRequest {
        service: name::target(&args.service, namespace)?,
        client_namespace: args.client_namespace.unwrap_or_default(),
        ..CompareEndpointsRequest::default()
    };
    let answer = {
        let _spinner = Spinner::start("Asking what proxies are told");
        mesh.compare_endpoints(request).await?
    };
    let printed = match args.output {
        Format::Table => text::print(&answer),
        Format::Json => policy::json(&answer),
    };
    terminal::data_if_read(printed.as_bytes())?;
    if let Some(summary) = text::summary(&answer) {
        terminal::say(summary);
    }
    say_freshness(answer.freshness.as_ref());
    Ok(ExitCode::from(u8::from(!answer.differences.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};
    use linkerd_mcp_proto::v1::CompareEndpointsResponse;

    #[test]
    fn what_proxies_are_told_is_as_checked_in() {
        let answer = sample::policy::told();
        golden::compare("endpoints.txt", &text::print(&answer));
        golden::compare("endpoints.json", &policy::json(&answer));
    }

    #[test]
    fn no_endpoints_are_no_table_but_what_differs_is_still_told() {
        let mut answer =
            CompareEndpointsResponse { differences: vec!["it is gone".into()], ..Default::default() };
        assert_eq!(text::print(&answer), "Difference: it is gone\n");
        assert_eq!(text::summary(&answer), Some("Proxies are told of no endpoints."));
        answer.differences.clear();
        assert_eq!(text::print(&answer), "");
    }
}
