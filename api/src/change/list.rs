//! ListChanges.

use super::{Inner, Refusal, deed, record::Record, store::Page, target::is_name};
use crate::{caller::Principal, encode::timestamp};
use linkerd_mcp_proto::v1;
use std::collections::BTreeSet;

/// Unless the request says otherwise.
const USUAL: usize = 50;
const MOST: usize = 500;
/// The most namespaces that a caller without the right to all is asked about.
const MOST_NAMESPACES: usize = 50;

pub(super) async fn list(
    inner: &Inner,
    who: &Principal,
    asked: &v1::ListChangesRequest,
) -> Result<v1::ListChangesResponse, Refusal> {
    let v1::ListChangesRequest { namespace, limit, change_id } = asked;
    if !namespace.is_empty() && !is_name(namespace) {
        return Err(Refusal::Invalid(format!("`{namespace:.64}` is no name of a namespace")));
    }
    let limit = match usize::try_from(*limit).unwrap_or(MOST) {
        0 => USUAL,
        limit => limit.min(MOST),
    };
    let asked_for = |record: &Record| namespace.is_empty() || record.touches(namespace);
    let mut page = match change_id.as_str() {
        "" => inner.store.changes(&asked_for, MOST).await?,
        id => {
            let records = inner.store.change(checked(id)?).await?.into_iter().filter(asked_for).collect();
            Page { records, ..Page::default() }
        }
    };
    let mut notes = vec![inner.store.note().to_owned()];
    match inner.demand(who, &deed("list", "changes", namespace)).await {
        Ok(()) => {}
        // Who may see some namespaces sees the changes that are of these alone.
        Err(Refusal::Forbidden { .. }) if namespace.is_empty() => {
            let readable = readable(inner, who, &page.records).await?;
            page.records.retain(|record| {
                record.objects.iter().all(|done| readable.contains(done.target.namespace.as_str()))
            });
            notes.push("limited to what you may see".to_owned());
        }
        Err(refusal) => return Err(refusal),
    }
    let truncated = page.truncated || page.records.len() > limit;
    page.records.truncate(limit);
    Ok(v1::ListChangesResponse {
        changes: page.records.iter().map(Record::message).collect(),
        truncated,
        since: page.since_ms.map(timestamp),
        notes,
    })
}

/// The namespaces of these changes that the caller may see changes of.
async fn readable(inner: &Inner, who: &Principal, records: &[Record]) -> Result<BTreeSet<String>, Refusal> {
    let candidates: BTreeSet<&str> =
        records.iter().flat_map(|it| &it.objects).map(|done| done.target.namespace.as_str()).collect();
    let mut readable = BTreeSet::new();
    for namespace in candidates.into_iter().take(MOST_NAMESPACES) {
        match inner.demand(who, &deed("list", "changes", namespace)).await {
            Ok(()) => {
                readable.insert(namespace.to_owned());
            }
            Err(Refusal::Forbidden { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(readable)
}

/// An id of a change, which becomes a part of a key.
pub(super) fn checked(id: &str) -> Result<&str, Refusal> {
    let known = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(known) {
        return Ok(id);
    }
    Err(Refusal::Invalid("that is no id of a change; ListChanges has them".to_owned()))
}
