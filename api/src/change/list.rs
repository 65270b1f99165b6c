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
    let all = inner.demand(who, &deed("list", "changes", namespace)).await;
    let readable = match all {
        Ok(()) => None,
        // Who may read some namespaces sees the changes that are of these alone.
        Err(Refusal::Forbidden { .. }) if namespace.is_empty() => {
            let readable = readable(inner, who).await?;
            if readable.is_empty() {
                return Err(all.err().unwrap_or(Refusal::Nobody));
            }
            Some(readable)
        }
        Err(refusal) => return Err(refusal),
    };
    let may_see = |record: &Record| {
        let seen = |readable: &BTreeSet<String>| {
            record.objects.iter().all(|done| readable.contains(&done.target.namespace))
        };
        readable.as_ref().is_none_or(seen)
    };
    let asked_for = |record: &Record| namespace.is_empty() || record.touches(namespace);
    let page = match change_id.as_str() {
        "" => inner.store.changes(&|record| may_see(record) && asked_for(record), limit).await?,
        id => {
            let found = inner.store.change(checked(id)?).await?;
            let records = found.into_iter().filter(|it| may_see(it) && asked_for(it)).collect();
            Page { records, ..Page::default() }
        }
    };
    let mut notes = vec![inner.store.note().to_owned()];
    if let Some(readable) = &readable {
        let names: Vec<&str> = readable.iter().map(String::as_str).collect();
        notes.push(format!("limited to what you may see: changes in {}", names.join(", ")));
    }
    Ok(v1::ListChangesResponse {
        changes: page.records.iter().map(Record::message).collect(),
        truncated: page.truncated,
        since: page.since_ms.map(timestamp),
        notes,
    })
}

/// The namespaces of the mesh whose changes the caller may see.
async fn readable(inner: &Inner, who: &Principal) -> Result<BTreeSet<String>, Refusal> {
    let view = inner.view()?;
    let of_policies = view.graph.auth_policies.keys().map(|id| id.namespace());
    let others = view.graph.policies.keys().map(|id| id.namespace());
    let candidates: BTreeSet<String> = of_policies.chain(others).map(str::to_owned).collect();
    let mut readable = BTreeSet::new();
    for namespace in candidates.into_iter().take(MOST_NAMESPACES) {
        match inner.demand(who, &deed("list", "changes", &namespace)).await {
            Ok(()) => {
                readable.insert(namespace);
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
