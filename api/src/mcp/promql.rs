//! Which PromQL may be asked: what reads the metrics of Linkerd's proxies, over hours and not over years.
//!
//! An expression is parsed, held against the table of metrics, gets the matchers that the operator adds to every
//! selector, and is written out again from the parse: what was not understood is not sent.

use linkerd_mcp_graph::promql::ExtraMatcher;
use promql_parser::{
    label::Matcher,
    parser::{self, AtModifier, Expr, Offset, VectorSelector},
};
use std::time::Duration;

/// Why an expression is not asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is no PromQL.
    #[error("`query` is no PromQL: {0}")]
    Syntax(String),
    /// A selector without a metric's name asks everything there is.
    #[error("every selector in `query` must begin with the name of a metric, as in response_total{{…}}")]
    Nameless,
    /// A metric of something else.
    #[error(
        "`{0}` is not a metric of Linkerd's proxies; they begin with {list}",
        list = PREFIXES.join(", ")
    )]
    Metric(String),
    /// It reaches too far back.
    #[error("`query` looks back further than {} hours", MAX_RANGE.as_secs() / 3_600)]
    Range,
    /// It nests too deep.
    #[error("`query` nests deeper than {MAX_DEPTH} levels")]
    Depth,
    /// What others can say in other ways.
    #[error("`query` uses {0}, which is not asked from here")]
    Unusual(&'static str),
}

/// What the names of the proxies' metrics begin with (linkerd2-proxy's `/metrics`).
const PREFIXES: &[&str] = &[
    "request_",
    "response_",
    "route_",
    "tcp_",
    "inbound_",
    "outbound_",
    "identity_",
    "control_",
    "proxy_build_info",
    "process_",
    "rustls_",
    "stack_",
];

const MAX_RANGE: Duration = Duration::from_secs(6 * 3_600);
const MAX_DEPTH: usize = 32;

/// The expression as it is sent.
///
/// # Errors
///
/// When it is not one that may be asked.
pub(crate) fn bounded(query: &str, matchers: &[ExtraMatcher]) -> Result<String, Error> {
    // The parser recurses: brackets are counted before it sees them.
    if nesting(query) > MAX_DEPTH {
        return Err(Error::Depth);
    }
    let syntax = |error: String| Error::Syntax(crate::mcp::text::data(&error));
    let mut expr = parser::parse(query).map_err(syntax)?;
    check(&mut expr, &added(matchers)?)?;
    let text = expr.to_string();
    // What is sent must be read by Prometheus as it was read here, whatever stands in its quoted texts.
    match parser::parse(&text) {
        Ok(again) if again == expr => Ok(text),
        _ => Err(Error::Unusual("characters that cannot be quoted safely")),
    }
}

/// The operator's matchers as the parser has them.
fn added(matchers: &[ExtraMatcher]) -> Result<Vec<Matcher>, Error> {
    let parse = |matcher: &ExtraMatcher| match parser::parse(&format!("up{{{matcher}}}")) {
        Ok(Expr::VectorSelector(selector)) => Ok(selector.matchers.matchers),
        _ => Err(Error::Unusual("a matcher of --prometheus-matcher that is no PromQL")),
    };
    Ok(matchers.iter().map(parse).collect::<Result<Vec<_>, _>>()?.concat())
}

fn nesting(query: &str) -> usize {
    let mut depth = 0usize;
    let mut deepest = 0;
    for byte in query.bytes() {
        match byte {
            // A sign nests as well.
            b'(' | b'{' | b'[' | b'-' | b'+' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn check(expr: &mut Expr, matchers: &[Matcher]) -> Result<(), Error> {
    match expr {
        Expr::VectorSelector(selector) => select(selector, matchers),
        Expr::MatrixSelector(matrix) => {
            within(matrix.range)?;
            select(&mut matrix.vs, matchers)
        }
        Expr::Subquery(subquery) => {
            within(subquery.range)?;
            recent(subquery.at.as_ref(), subquery.offset.as_ref())?;
            check(&mut subquery.expr, matchers)
        }
        Expr::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                check(param, matchers)?;
            }
            check(&mut aggregate.expr, matchers)
        }
        Expr::Unary(unary) => check(&mut unary.expr, matchers),
        Expr::Paren(paren) => check(&mut paren.expr, matchers),
        Expr::Binary(binary) => {
            check(&mut binary.lhs, matchers)?;
            check(&mut binary.rhs, matchers)
        }
        Expr::Call(call) => call.args.args.iter_mut().try_for_each(|arg| check(arg, matchers)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(()),
        Expr::Extension(_) => Err(Error::Syntax("this is an extension of PromQL".to_owned())),
    }
}

fn select(selector: &mut VectorSelector, matchers: &[Matcher]) -> Result<(), Error> {
    let Some(name) = &selector.name else { return Err(Error::Nameless) };
    if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Error::Metric(crate::mcp::text::data(name)));
    }
    if selector.matchers.matchers.iter().any(|matcher| matcher.name == "__name__") {
        return Err(Error::Nameless);
    }
    if !selector.matchers.or_matchers.is_empty() {
        return Err(Error::Unusual("`or` between matchers"));
    }
    recent(selector.at.as_ref(), selector.offset.as_ref())?;
    selector.matchers.matchers.extend_from_slice(matchers);
    // In the order in which they are written out, so that what is read back can be held against this.
    selector.matchers.matchers.sort_by_cached_key(ToString::to_string);
    Ok(())
}

fn recent(at: Option<&AtModifier>, offset: Option<&Offset>) -> Result<(), Error> {
    if at.is_some() {
        return Err(Error::Unusual("`@`"));
    }
    match offset {
        Some(Offset::Pos(offset)) => within(*offset),
        Some(Offset::Neg(_)) => Err(Error::Unusual("a negative offset")),
        None => Ok(()),
    }
}

fn within(range: Duration) -> Result<(), Error> {
    if range > MAX_RANGE { Err(Error::Range) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<String, String> {
        bounded(query, &[r#"cluster="east""#.parse().unwrap()]).map_err(|error| error.to_string())
    }

    #[test]
    fn every_selector_gets_the_matchers_of_the_operator() {
        assert_eq!(
            asked(r#"sum by (pod) (rate(response_total{direction="inbound"}[1m])) / sum(tcp_open_connections)"#),
            Ok(r#"sum by (pod) (rate(response_total{cluster="east",direction="inbound"}[1m])) / sum(tcp_open_connections{cluster="east"})"#.to_owned())
        );
        let subquery = asked("max_over_time(sum(rate(request_total[1m]))[30m:1m])").unwrap();
        assert!(subquery.contains(r#"request_total{cluster="east"}"#), "{subquery}");
    }

    #[test]
    fn only_metrics_of_the_proxies_and_of_the_last_hours_are_asked() {
        for (query, part) in [
            ("up", "`up` is not a metric of Linkerd's proxies"),
            ("kube_secret_info", "is not a metric"),
            ("sum(rate(response_total[1m])) or node_load1", "`node_load1`"),
            (r#"{__name__=~".+"}"#, "must begin with the name of a metric"),
            (r#"{__name__="response_total"}"#, "must begin with the name of a metric"),
            ("topk(scalar(up), response_total)", "`up`"),
            ("response_total[7d]", "6 hours"),
            ("max_over_time(response_total[1m:1s] offset 1w)", "6 hours"),
            ("response_total offset 1w", "6 hours"),
            ("response_total @ 0", "`@`"),
            (r#"response_total{a="1" or b="2"}"#, "`or` between matchers"),
            ("sum(", "no PromQL"),
            ("", "no PromQL"),
        ] {
            let error = asked(query).unwrap_err();
            assert!(error.contains(part), "{query}: {error}");
        }
    }

    #[test]
    fn quoted_text_stays_quoted() {
        for value in [r#"a\"b"#, r#"\"} or up{x=\""#, "new\nline", r"back\\slash"] {
            let query = format!(r#"response_total{{pod="{value}"}}"#);
            if let Ok(sent) = asked(&query) {
                let again = parser::parse(&sent).unwrap();
                let Expr::VectorSelector(selector) = again else { panic!("{sent} is no selector any more") };
                assert_eq!(selector.name.as_deref(), Some("response_total"), "{sent}");
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_parsed() {
        let deep = format!("{}response_total{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(asked(&deep).unwrap_err().contains("nests deeper"));
        assert!(asked(&"-".repeat(100_000)).unwrap_err().contains("nests deeper"));
    }
}
