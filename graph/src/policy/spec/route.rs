//! HTTPRoutes of both groups and GRPCRoutes.

use super::{
    Fault,
    filter::{RawGateway, RawLinkerd},
    matching::{RawGrpc, RawHttp},
    read,
    reference::{LINKERD, same_group},
};
use crate::{
    fact::Key,
    id::Text,
    kind::Kind,
    policy::answer::{Filter, GrpcMatch, Host, HttpMatch, Rule},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// A route that can be read.
#[derive(Debug)]
pub(in crate::policy) struct Parsed<M> {
    /// The Servers it names as parents, rightly or not.
    pub(in crate::policy) parents: Vec<Key>,
    /// The route as Linkerd uses it, or why it does not.
    pub(in crate::policy) usable: Result<Usable<M>, Fault>,
}

/// What a usable route says.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Usable<M> {
    pub(in crate::policy) hosts: Vec<Host>,
    pub(in crate::policy) rules: Vec<Rule<M>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "M: DeserializeOwned, F: DeserializeOwned")]
struct Raw<M, F> {
    parent_refs: Option<Vec<RawParent>>,
    hostnames: Option<Vec<Text>>,
    rules: Option<Vec<RawRule<M, F>>>,
}

#[derive(Deserialize)]
#[serde(bound = "M: DeserializeOwned, F: DeserializeOwned")]
struct RawRule<M, F> {
    matches: Option<Vec<M>>,
    filters: Option<Vec<F>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawParent {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<Text>,
    name: Text,
    section_name: Option<Text>,
    port: Option<i32>,
}

/// Reads an HTTPRoute of `kind`.
pub(in crate::policy) fn http_route(
    kind: Kind,
    spec: &Value,
    namespace: &Text,
) -> Result<Parsed<HttpMatch>, Fault> {
    match kind {
        Kind::LinkerdHTTPRoute => parse(spec, namespace, RawHttp::read, RawLinkerd::read),
        _ => parse(spec, namespace, RawHttp::read, RawGateway::read),
    }
}

/// Reads a GRPCRoute.
pub(in crate::policy) fn grpc_route(spec: &Value, namespace: &Text) -> Result<Parsed<GrpcMatch>, Fault> {
    parse(spec, namespace, RawGrpc::read, RawGateway::read_grpc)
}

/// The Servers that a route's spec names as parents, whatever else stands in it.
pub(in crate::policy) fn parents_of(spec: &Value, namespace: &Text) -> Vec<Key> {
    let parents = spec.get("parentRefs").and_then(Value::as_array);
    let parents = parents.into_iter().flatten().filter_map(|parent| RawParent::deserialize(parent).ok());
    parents.filter(RawParent::is_server).map(|parent| parent.key(namespace)).collect()
}

fn parse<R: DeserializeOwned, F: DeserializeOwned, M>(
    spec: &Value,
    namespace: &Text,
    matching: fn(R) -> Result<M, Fault>,
    filter: fn(F) -> Result<Option<Filter>, Fault>,
) -> Result<Parsed<M>, Fault> {
    let raw: Raw<R, F> = read(spec)?;
    let parents: Vec<_> = raw.parent_refs.into_iter().flatten().filter(RawParent::is_server).collect();
    let rule = |rule: RawRule<R, F>| {
        let filters = rule.filters.into_iter().flatten().filter_map(|raw| filter(raw).transpose());
        Ok(Rule {
            matches: rule.matches.into_iter().flatten().map(matching).collect::<Result<_, Fault>>()?,
            filters: filters.collect::<Result<_, Fault>>()?,
        })
    };
    let rules = raw.rules.into_iter().flatten().map(rule).collect::<Result<_, Fault>>();
    let hosts = raw.hostnames.into_iter().flatten().map(host).collect();
    let usable = parents
        .iter()
        .try_for_each(|parent| parent.check(namespace))
        .and(rules)
        .map(|rules| Usable { hosts, rules });
    Ok(Parsed { parents: parents.iter().map(|parent| parent.key(namespace)).collect(), usable })
}

fn host(name: Text) -> Host {
    match name.strip_prefix("*.") {
        Some(suffix) => Host::SuffixReverseLabels(suffix.split('.').rev().map(Text::from).collect()),
        None => Host::Exact(name),
    }
}

// === impl RawParent ===

impl RawParent {
    fn is_server(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| kind.eq_ignore_ascii_case("Server"))
            && same_group(self.group.as_deref(), LINKERD)
            && !self.name.is_empty()
    }

    fn key(&self, namespace: &Text) -> Key {
        Key {
            namespace: self.namespace.clone().unwrap_or_else(|| namespace.clone()),
            name: self.name.clone(),
        }
    }

    /// Inbound, one bad parent spoils the route on all its parents.
    fn check(&self, namespace: &Text) -> Result<(), Fault> {
        if self.namespace.as_ref().is_some_and(|own| own != namespace) {
            return Err(Fault::ParentElsewhere(self.key(namespace).to_string()));
        }
        match self.port.is_some() || self.section_name.is_some() {
            true => Err(Fault::ParentPart(self.name.to_string())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(kind: Kind, spec: Value) -> Option<Fault> {
        http_route(kind, &spec, &"shop".into()).unwrap().usable.err()
    }

    fn with_rule(rule: Value) -> Value {
        json!({"parentRefs": [{"group": "policy.linkerd.io", "kind": "Server", "name": "web"}], "rules": [rule]})
    }

    #[test]
    fn filters_that_send_the_request_elsewhere_make_the_route_unusable() {
        for (kind, content) in [
            ("URLRewrite", "urlRewrite"),
            ("RequestMirror", "requestMirror"),
            ("ExtensionRef", "extensionRef"),
        ] {
            let rule = json!({"filters": [{"type": kind, content: {}}]});
            assert!(
                matches!(fault(Kind::GatewayHTTPRoute, with_rule(rule)), Some(Fault::Filter(_))),
                "{kind}"
            );
        }
        let response = json!({"filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["x"]}}]});
        assert!(fault(Kind::GatewayHTTPRoute, with_rule(response)).is_none());
    }

    #[test]
    fn a_parent_elsewhere_or_in_part_makes_the_route_unusable_and_is_named_all_the_same() {
        let good = json!({"group": "policy.linkerd.io", "kind": "server", "name": "web"});
        for bad in [json!({"namespace": "other"}), json!({"port": 80}), json!({"sectionName": "x"})] {
            let mut parent = good.clone();
            parent.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
            let spec = json!({"parentRefs": [good, parent]});
            let parsed = http_route(Kind::LinkerdHTTPRoute, &spec, &"shop".into()).unwrap();
            assert!(parsed.usable.is_err(), "{spec}");
            assert_eq!(parsed.parents.len(), 2);
            assert_eq!(parsed.parents, parents_of(&spec, &"shop".into()));
        }
    }

    #[test]
    fn bad_matches_make_the_route_unusable() {
        for bad in [
            json!({"path": {"type": "Exact", "value": "x"}}),
            json!({"path": {"type": "RegularExpression", "value": "("}}),
            json!({"headers": [{"name": "a b", "value": "x"}]}),
            json!({"headers": [{"name": "a", "value": "x\n"}]}),
        ] {
            let rule = json!({"matches": [bad]});
            assert!(fault(Kind::GatewayHTTPRoute, with_rule(rule)).is_some(), "{bad}");
        }
        let method = json!({"matches": [{"method": "get"}]});
        assert!(http_route(Kind::GatewayHTTPRoute, &with_rule(method), &"shop".into()).is_err());
    }
}
