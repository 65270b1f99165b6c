//! Edges written as protobuf from where they are, because answers are mostly edges. A [`v1::Edge`] would be a dozen
//! strings to copy, measure and throw away. What is written is byte for byte what the message would be.
//!
//! [`v1::Edge`]: linkerd_mcp_proto::v1::Edge

use super::{observed_by, protocol};
use linkerd_mcp_graph::{
    id::{Destination, EdgeId, Source},
    metrics::EdgeMetrics,
    model::{Edge, Tls},
};
use prost::encoding::{WireType, encode_key, encode_varint};
use std::{fmt::Display, io::Write as _};

/// An edge as field `tag` of the message that `out` is the beginning of.
pub(super) fn edge(tag: u32, id: &EdgeId, it: &Edge, numbers: Option<&EdgeMetrics>, out: &mut Vec<u8>) {
    nested(tag, out, |out| {
        string(1, id.as_str(), out);
        match &it.src {
            Source::Workload(id) => string(2, id.as_str(), out),
            other => display(2, other, out),
        }
        match &it.dst {
            Destination::Service(id, None) => string(3, id.as_str(), out),
            Destination::Workload(id, None) => string(3, id.as_str(), out),
            other => display(3, other, out),
        }
        string(4, it.src.namespace().unwrap_or_default(), out);
        string(5, it.dst.namespace().unwrap_or_default(), out);
        number(6, it.dst.port().unwrap_or_default().into(), out);
        enumerated(7, protocol(it.protocol), out);
        let (tls, reason) = match &it.tls {
            Tls::Mutual => (Some(true), ""),
            Tls::No { reason } => (Some(false), &**reason),
            Tls::Unknown => (None, ""),
        };
        if let Some(tls) = tls {
            encode_key(8, WireType::Varint, out);
            out.push(tls.into());
        }
        string(9, reason, out);
        string(10, it.client_identity.as_deref().unwrap_or_default(), out);
        it.server_identities.iter().for_each(|name| item(11, name, out));
        it.workloads.iter().for_each(|id| item(12, id.as_str(), out));
        it.backends.iter().for_each(|id| item(12, id.as_str(), out));
        enumerated(13, observed_by(it.observed_by), out);
        it.candidates.iter().for_each(|id| item(14, id.as_str(), out));
        if let Some(numbers) = numbers {
            nested(15, out, |out| metrics(numbers, out));
        }
        string(16, it.target_cluster.as_deref().unwrap_or_default(), out);
    });
}

fn metrics(it: &EdgeMetrics, out: &mut Vec<u8>) {
    let before = [
        it.rps,
        it.success_rate,
        it.p50_ms,
        it.p95_ms,
        it.p99_ms,
        it.tcp_open,
        it.tcp_opened,
        it.sent,
        it.received,
        it.allowed,
        it.denied,
        it.mtls_share,
        it.retries,
    ];
    for (tag, value) in (1..).zip(before) {
        double(tag, value, out);
    }
    if let Some(ms) = it.last_seen_ms {
        encode_key(14, WireType::Varint, out);
        encode_varint(ms.cast_unsigned(), out);
    }
    it.authorized_by.iter().for_each(|name| item(15, name, out));
    double(16, it.unrouted, out);
}

/// A field of its own length: most are short, and what turns out to be longer is moved on by a few bytes.
fn nested(tag: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, out);
    let length = out.len();
    out.push(0);
    let start = out.len();
    write(out);
    let len = out.len() - start;
    if let Ok(short @ 0..128) = u8::try_from(len) {
        out[length] = short;
        return;
    }
    let mut varint = Vec::with_capacity(10);
    encode_varint(len as u64, &mut varint);
    let more = varint.len() - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(start..start + len, start + more);
    out[length..=length + more].copy_from_slice(&varint);
}

/// Text; nothing when it is empty.
fn string(tag: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        item(tag, text, out);
    }
}

/// One of several texts.
fn item(tag: u32, text: &str, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// What is never displayed as nothing.
fn display(tag: u32, text: &impl Display, out: &mut Vec<u8>) {
    nested(tag, out, |out| write!(out, "{text}").expect("a vector takes every byte"));
}

fn number(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn enumerated(tag: u32, value: i32, out: &mut Vec<u8>) {
    number(tag, u64::from(value.cast_unsigned()), out);
}

fn double(tag: u32, value: Option<f64>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        encode_key(tag, WireType::SixtyFourBit, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_mcp_graph::model::{ObservedBy, Protocol};
    use prost::encoding::message;

    /// Many edges, so that every field is there and not there, and lengths take one byte, two and three.
    fn edges() -> impl Iterator<Item = (EdgeId, Edge, Option<EdgeMetrics>)> {
        let sources = [
            "shop/deployment/web",
            "identity:web.shop.serviceaccount.identity.linkerd.cluster.local",
            "identity:spiffe://a/b",
            "unmeshed:no_tls_from_remote",
        ];
        let targets =
            ["shop/cart:80", "shop/cart", "data/statefulset/db:5432", "data/pod/db", "external:[::1]:443"];
        let all = sources.into_iter().flat_map(move |source| targets.map(|target| (source, target)));
        all.flat_map(|(source, target)| (0..8_usize).map(move |n| (source, target, n))).map(
            |(source, target, n)| {
                let few = |text: &str| {
                    (0..n % 4).map(|n| format!("{text}{n}").parse().unwrap()).collect::<Vec<_>>()
                };
                let text = |text: &str| (n % 2 == 0).then(|| text.into());
                let edge = Edge {
                    src: source.parse().unwrap(),
                    dst: target.parse().unwrap(),
                    protocol: [Protocol::Http, Protocol::Grpc, Protocol::Tcp][n % 3],
                    tls: match n % 3 {
                        0 => Tls::Mutual,
                        1 => Tls::No { reason: "r".repeat(100 * n).into() },
                        _ => Tls::Unknown,
                    },
                    client_identity: text("web.shop"),
                    server_identities: (0..n * 100).map(|n| format!("name-{n}").into()).collect(),
                    workloads: few("shop/deployment/cart-"),
                    backends: (0..n / 4).map(|n| format!("shop/cart-{n}").parse().unwrap()).collect(),
                    observed_by: [ObservedBy::Client, ObservedBy::Server][n % 2],
                    candidates: few("edge/deployment/gate-"),
                    target_cluster: text("west"),
                };
                let known = |tenth: usize| (n != 1 && tenth % 7 != n).then_some(tenth as f64 / 10.0);
                let numbers = EdgeMetrics {
                    rps: known(0),
                    success_rate: known(1),
                    p50_ms: known(2),
                    p95_ms: known(3),
                    p99_ms: known(4),
                    tcp_open: known(5),
                    tcp_opened: known(6),
                    sent: known(7),
                    received: known(8),
                    allowed: known(9),
                    denied: known(10),
                    mtls_share: known(11),
                    retries: known(12),
                    unrouted: known(13),
                    last_seen_ms: [None, Some(0), Some(-1), Some(i64::MAX)][n % 4],
                    authorized_by: (0..n * 5).map(|n| format!("authorizationpolicy/{n}").into()).collect(),
                };
                (format!("{source}->{target}").parse().unwrap(), edge, (n > 0).then_some(numbers))
            },
        )
    }

    #[test]
    fn an_edge_is_written_as_its_message_would_be() {
        let (mut written, mut wanted) = (Vec::new(), Vec::new());
        for (id, it, numbers) in edges() {
            edge(5, &id, &it, numbers.as_ref(), &mut written);
            message::encode(5, &super::super::edge(&id, &it, numbers.as_ref()), &mut wanted);
            assert_eq!(written, wanted, "{id} {it:?} {numbers:?}");
        }
        assert!(wanted.len() > 16_384, "some lengths took three bytes");
    }
}
