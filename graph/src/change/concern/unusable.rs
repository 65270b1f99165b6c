//! Objects that Linkerd would not be able to use.

use super::{Concern, Scene};
use crate::{kind::Kind, policy::refers};
use std::error::Error;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let cluster = scene.trial.mesh.policies.cluster();
    let concern = |edit: &crate::change::Edit, object: &crate::fact::PolicyObject| {
        let fault = refers::fault(object, cluster)?;
        let mut why = fault.to_string();
        let mut cause = fault.source();
        while let Some(error) = cause {
            why = format!("{why}: {error}");
            cause = error.source();
        }
        let then = match (&edit.before, object.kind) {
            (Some(before), _) if refers::fault(before, cluster).is_none() => {
                "Linkerd's policy controller skips such an update, so the version before it stays in force until the \
                 controller restarts, and only then is the object ignored."
            }
            (_, Kind::Server) => {
                "Linkerd ignores such a Server, so the default policy holds on its ports, which may be open to everybody."
            }
            _ => "Linkerd ignores such an object.",
        };
        Some(Concern::refuse("unusable", [edit.id()], format!("{} cannot be used: {why}. {then}", edit.id())))
    };
    scene.put().filter_map(|(edit, object)| concern(edit, object)).collect()
}
