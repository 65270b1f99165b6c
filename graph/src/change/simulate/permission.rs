//! Who may call which port after the edits and may not now, or the other way round, though no such call is seen.

use super::{MOST_LISTED, Seen};
use crate::{
    change::Trial,
    id::{Text, WorkloadId},
    policy::ask::{Admitted, Columns},
};
use serde::Serialize;
use std::collections::BTreeSet;

/// The most identities that one entry names.
const MOST_NAMED: usize = 20;
/// The most times that an identity is held against a port.
const MOST_LOOKS: usize = 2_000_000;

/// Who gains or loses the permission to call a port. What hangs on routes or addresses counts as let in where any route
/// or address is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// The workload of the port.
    pub workload: WorkloadId,
    /// Its number.
    pub port: u16,
    /// Who is let in after the edits and not now.
    pub gains: Who,
    /// Who is let in now and not after them.
    pub loses: Who,
}

/// Some clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Clients outside the mesh among them.
    pub unmeshed: bool,
    /// Every mesh client that no policy names, or every one with a DNS identity, those of other clusters included.
    pub any_meshed: bool,
    /// Identities of workloads that are known; the first of them.
    pub identities: Vec<Text>,
    /// How many those are.
    pub count: usize,
}

/// What changes at the touched ports, at how many of them, and whether some could not be looked at.
pub(super) fn changes(trial: &Trial<'_>, seen: &Seen<'_>) -> (Vec<Permission>, usize, bool) {
    if trial.ports.is_empty() {
        return (Vec::new(), 0, false);
    }
    let columns = Columns::of(&trial.mesh);
    let (mut permissions, mut count, mut looks) = (Vec::new(), 0, 0);
    for port in &trial.ports {
        let (before, after) = (columns.admitted(&port.before), columns.admitted(&port.after));
        if before == after {
            continue;
        }
        looks += columns.identities.len();
        if looks > MOST_LOOKS {
            return (permissions, count, true);
        }
        let place = (port.endpoint.workload, port.endpoint.port);
        let nobody = BTreeSet::new();
        let calling = seen.get(&place).unwrap_or(&nobody);
        let permission = Permission {
            workload: place.0.clone(),
            port: place.1,
            gains: Who::of(&columns.identities, &after, &before, calling),
            loses: Who::of(&columns.identities, &before, &after, calling),
        };
        if permission.gains == Who::default() && permission.loses == Who::default() {
            continue;
        }
        // Pods of one workload that are judged alike are told once.
        if permissions.last() != Some(&permission) {
            count += 1;
            if permissions.len() < MOST_LISTED {
                permissions.push(permission);
            }
        }
    }
    (permissions, count, false)
}

// === impl Who ===

impl Who {
    /// Those among `these` who are not among `those`, without those that are seen calling.
    fn of(identities: &[Text], these: &Admitted, those: &Admitted, calling: &BTreeSet<Option<Text>>) -> Self {
        let mut who = Self {
            unmeshed: unmeshed(these) && !unmeshed(those) && !calling.contains(&None),
            any_meshed: any_meshed(these) && !any_meshed(those),
            ..Self::default()
        };
        for (place, identity) in (0_u32..).zip(identities) {
            let dns = !identity.contains("://");
            if admits(these, place, dns)
                && !admits(those, place, dns)
                && !calling.contains(&Some(identity.clone()))
            {
                who.count += 1;
                if who.identities.len() < MOST_NAMED {
                    who.identities.push(identity.clone());
                }
            }
        }
        who
    }

    /// True when it is nobody.
    pub fn is_nobody(&self) -> bool {
        *self == Self::default()
    }
}

fn unmeshed(admitted: &Admitted) -> bool {
    matches!(admitted, Admitted::NotEnforced | Admitted::Everyone)
}

fn any_meshed(admitted: &Admitted) -> bool {
    !matches!(admitted, Admitted::Listed(_))
}

fn admits(admitted: &Admitted, place: u32, dns: bool) -> bool {
    match admitted {
        Admitted::NotEnforced | Admitted::Everyone | Admitted::Meshed => true,
        Admitted::MeshedDns(others) => dns || others.binary_search(&place).is_ok(),
        Admitted::Listed(places) => places.binary_search(&place).is_ok(),
    }
}
