//! What the API server has logged of a user's requests: which of its rights somebody uses, and what was refused.

use crate::apiserver::ApiServer;
use serde_json::Value;
use std::{collections::BTreeSet, io};

/// Verb, `resource.group`, and `namespace/name`, either of which may be empty.
pub type Asked = (String, String, String);

fn events(apiserver: &ApiServer, user: &str) -> io::Result<Vec<Value>> {
    let log = std::fs::read_to_string(apiserver.audit_log())?;
    // The last line may be in the middle of being written.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let mut events = Vec::new();
    for line in whole.lines() {
        let event: Value = serde_json::from_str(line).map_err(io::Error::other)?;
        if event["user"]["username"] == user && event["objectRef"]["resource"].is_string() {
            events.push(event);
        }
    }
    Ok(events)
}

/// What this user has asked about objects, allowed or not.
///
/// # Errors
///
/// When the log cannot be read.
pub fn asked(apiserver: &ApiServer, user: &str) -> io::Result<BTreeSet<Asked>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let asked = |event: Value| {
        let object = &event["objectRef"];
        let resource = match text(&object["apiGroup"]).as_str() {
            "" => text(&object["resource"]),
            group => format!("{}.{group}", text(&object["resource"])),
        };
        let place = [text(&object["namespace"]), text(&object["name"])].join("/");
        (text(&event["verb"]), resource, place)
    };
    Ok(events(apiserver, user)?.into_iter().map(asked).collect())
}

/// True when this user was refused something for want of a right.
///
/// # Errors
///
/// When the log cannot be read.
pub fn refused(apiserver: &ApiServer, user: &str) -> io::Result<bool> {
    Ok(events(apiserver, user)?.iter().any(|event| event["responseStatus"]["code"] == 403))
}
