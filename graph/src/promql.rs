//! Typed Prometheus queries: the table of what is asked at every poll, their text, and their evaluation over samples
//! held in memory (for the simulated mesh and for tests on recorded proxies).
//!
//! Queries are few, fixed and aggregated: never one per Service, and per pod only where a pod has no workload label.

pub mod answer;
pub mod eval;
pub mod exposition;
pub mod queries;

use std::fmt;

/// A query: one or more branches, joined by `or`.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What it asks.
    pub ask: Ask,
    /// Its branches; their results have different labels, so that joining loses nothing.
    pub branches: Vec<Branch>,
}

/// What a query asks; the controller polls each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// Responses per second, at the client, by outcome and TLS.
    Responses,
    /// Requests per second at the client, also where none was ever answered.
    Requests,
    /// Requests the client's proxy has ever sent.
    RequestsEver,
    /// Responses the client's proxy has ever got.
    ResponsesEver,
    /// gRPC responses per second at the client.
    GrpcResponses,
    /// Responses with status 403 per second at the client.
    Forbidden,
    /// Median latency in milliseconds at the client.
    LatencyP50,
    /// 95th percentile.
    LatencyP95,
    /// 99th percentile.
    LatencyP99,
    /// Connections opened per second by the client.
    TcpOpened,
    /// Connections the client has open.
    TcpOpen,
    /// Bytes per second the client sends.
    TcpSent,
    /// Bytes per second the client receives.
    TcpReceived,
    /// Calls per second by called Service and HTTP status, retries not counted.
    HttpCalls,
    /// Calls per second by called Service and gRPC status, retries not counted.
    GrpcCalls,
    /// Requests per second by called Service and the Service a route sent them to (HTTP).
    HttpBackends,
    /// The same for gRPC.
    GrpcBackends,
    /// Retries per second by called Service (HTTP).
    HttpRetries,
    /// The same for gRPC.
    GrpcRetries,
    /// Responses per second at the server, by client identity.
    ServedResponses,
    /// Requests per second at the server by client identity, probes included.
    ServedRequests,
    /// gRPC responses per second at the server.
    ServedGrpc,
    /// Connections opened per second at the server, by client identity.
    ServedTcp,
    /// Requests per second the server's proxy let in, by authorization.
    HttpAllowed,
    /// Requests per second the server's proxy denied.
    HttpDenied,
    /// Connections per second the server's proxy let in, by authorization.
    TcpAllowed,
    /// Connections per second the server's proxy denied.
    TcpDenied,
    /// Requests per second no route of a Server matched.
    Unrouted,
    /// Which pods are scraped.
    Scraped,
}

/// One aggregation of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// Metric name.
    pub metric: &'static str,
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// What each series gives.
    pub of: Of,
    /// Labels to keep.
    pub by: Vec<&'static str>,
    /// Written into label `branch` of the result; empty for none.
    pub tag: &'static str,
}

/// What a series gives before it is summed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Of {
    /// Its rate of increase per second over the window.
    Rate,
    /// Its last value.
    Last,
    /// 1 for being there.
    Presence,
    /// The quantile of the summed rates of its buckets.
    Quantile(f64),
}

/// A condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// Equal; `""` also means absent.
    Is(String, String),
    /// Not equal.
    Not(String, String),
}

/// A matcher an operator adds to every selector, as in `cluster="east"`: for a Prometheus that holds several
/// clusters. Passed on as it is; it cannot break out of the selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraMatcher(String);

/// Not a matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a label matcher; write one with the value in double quotes, as in cluster=\"east\"")]
pub struct BadMatcher(String);

// === impl Matcher ===

impl Matcher {
    /// Equal.
    pub fn is(label: &str, value: &str) -> Self {
        Self::Is(label.to_owned(), value.to_owned())
    }

    /// Not equal.
    pub fn not(label: &str, value: &str) -> Self {
        Self::Not(label.to_owned(), value.to_owned())
    }

    /// True when a series with this value of the label (empty when absent) is meant.
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Is(_, wanted) => value == wanted,
            Self::Not(_, unwanted) => value != unwanted,
        }
    }

    /// The label it looks at.
    pub fn label(&self) -> &str {
        match self {
            Self::Is(label, _) | Self::Not(label, _) => label,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, operator, value) = match self {
            Self::Is(label, value) => (label, "=", value),
            Self::Not(label, value) => (label, "!=", value),
        };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{label}{operator}\"{value}\"")
    }
}

// === impl ExtraMatcher ===

impl std::str::FromStr for ExtraMatcher {
    type Err = BadMatcher;

    fn from_str(text: &str) -> Result<Self, BadMatcher> {
        let label = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let (label, rest) = text.split_at(label);
        let value = ["=~", "!~", "!=", "="].iter().find_map(|operator| rest.strip_prefix(operator));
        let named = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        match value {
            Some(value) if named && quoted(value) => Ok(Self(text.to_owned())),
            _ => Err(BadMatcher(text.to_owned())),
        }
    }
}

impl fmt::Display for ExtraMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True for one string in double quotes, with nothing after it.
fn quoted(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            _ if c.is_control() => return false,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return false,
            _ => {}
        }
    }
    !escaped
}

// === impl Query ===

impl Query {
    /// The query as PromQL, over a window of `window_s` seconds, with the operator's own matchers in every selector.
    pub fn text(&self, window_s: u32, extra: &[ExtraMatcher]) -> String {
        let branches: Vec<String> = self.branches.iter().map(|branch| branch.text(window_s, extra)).collect();
        branches.join(" or ")
    }
}

// === impl Branch ===

impl Branch {
    fn text(&self, window_s: u32, extra: &[ExtraMatcher]) -> String {
        let own = self.matchers.iter().map(Matcher::to_string);
        let matchers: Vec<String> = own.chain(extra.iter().map(ExtraMatcher::to_string)).collect();
        let selector = format!("{}{{{}}}", self.metric, matchers.join(","));
        let by = self.by.join(",");
        let expression = match self.of {
            Of::Rate => format!("sum by ({by}) (rate({selector}[{window_s}s]))"),
            Of::Last => format!("sum by ({by}) ({selector})"),
            Of::Presence => format!("group by ({by}) ({selector})"),
            Of::Quantile(q) => {
                format!("histogram_quantile({q}, sum by (le,{by}) (rate({selector}[{window_s}s])))")
            }
        };
        match self.tag {
            "" => expression,
            tag => format!("label_replace({expression}, \"branch\", \"{tag}\", \"\", \"\")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_valid_text_with_the_operators_matchers_in_every_selector() {
        let branch = |tag, of| Branch {
            metric: "response_total",
            matchers: vec![Matcher::is("direction", "outbound"), Matcher::not("dst_namespace", "")],
            of,
            by: vec!["namespace", "dst_service"],
            tag,
        };
        let query = Query {
            ask: Ask::Responses,
            branches: vec![branch("", Of::Rate), branch("src", Of::Quantile(0.5))],
        };
        assert_eq!(
            query.text(30, &["cluster=\"a\\\"b\"".parse().unwrap()]),
            "sum by (namespace,dst_service) (rate(response_total{direction=\"outbound\",dst_namespace!=\"\",cluster=\"a\\\"b\"}[30s])) or \
             label_replace(histogram_quantile(0.5, sum by (le,namespace,dst_service) (rate(response_total{direction=\"outbound\",dst_namespace!=\"\",cluster=\"a\\\"b\"}[30s]))), \"branch\", \"src\", \"\", \"\")"
        );
    }

    #[test]
    fn a_matcher_of_an_operator_cannot_break_out_of_the_selector() {
        for text in ["cluster=\"east\"", "cluster!~\"a|b\\\"c\""] {
            assert_eq!(text.parse::<ExtraMatcher>().unwrap().to_string(), text);
        }
        for text in
            ["", "=\"a\"", "1a=\"b\"", "a=b", "a=\"b\",c=\"d\"", "a=\"b\"} or up{", "a=\"b\\\"", "a=\""]
        {
            assert!(text.parse::<ExtraMatcher>().is_err(), "{text}");
        }
    }
}
