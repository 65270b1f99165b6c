//! PlanChange: what is asked for, what is there, what would become of it, and the plan to apply it with.

use super::{
    Inner, Refusal,
    cluster::{FIELD_MANAGER, Fault, Mode, Version},
    deed, message, now_ms,
    record::{Action, Who},
    seal::{Token, canonical, sha256},
    stream,
    target::{Target, is_name},
    write::{Write, order},
};
use crate::{
    caller::Principal,
    chain::chain,
    encode::timestamp,
    graph::{
        change::{self, Assessment, CHANGEABLE, Edit, Manifest, owner, patch_for_repository},
        fact::PolicyObject,
        id::{ObjectId, PolicyId},
        kind::Kind,
        policy::ask::Mesh,
    },
    rights::Scope,
    view::View,
};
use linkerd_mcp_proto::v1;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// What is kept of a plan until it is applied. Sealed with its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) who: Who,
    pub(crate) expires_ms: i64,
    pub(crate) payload_sha256: String,
    /// Of the manifest as it came.
    pub(crate) request_sha256: String,
    /// In the order in which they are made.
    pub(crate) writes: Vec<Write>,
    pub(crate) diff: String,
    /// The workloads whose ports are served otherwise: what a guard watches.
    pub(crate) touched: Vec<String>,
    /// What becomes of the calls that are seen, in lines, for the person who approves.
    pub(crate) impact: String,
}

/// The most bytes of a difference that are kept with a change.
const MOST_DIFF: usize = 64 << 10;

/// One object that the request is about.
struct Item {
    target: Target,
    /// What is asked for; none to delete it.
    manifest: Option<Manifest>,
    /// As the API server has it.
    live: Option<Value>,
    /// As the API server would have it.
    tried: Option<Value>,
    force: bool,
    before: Option<Arc<PolicyObject>>,
}

pub(super) async fn plan(
    inner: &Inner,
    who: &Principal,
    asked: &v1::PlanChangeRequest,
    scope: &Scope,
) -> Result<v1::PlanChangeResponse, Refusal> {
    if inner.read_only && !asked.simulate_only {
        return Err(Refusal::ReadOnly);
    }
    let view = inner.view()?;
    let mut items = items(asked, &view)?;
    let namespaces: BTreeSet<String> = items.iter().map(|item| item.target.namespace.clone()).collect();
    for namespace in &namespaces {
        inner.demand(who, &deed("create", "plans", namespace)).await?;
        if asked.force {
            inner.demand(who, &deed("force", "changes", namespace)).await?;
        }
    }
    let mut notes = Vec::new();
    let mut concerns = Vec::new();
    let cluster = inner.cluster.as_ref().filter(|_| !inner.read_only);
    match cluster {
        Some(cluster) => {
            let live = cluster.get_all(items.iter().map(|item| item.target.clone()).collect()).await?;
            for (item, live) in items.iter_mut().zip(live) {
                item.live = live;
            }
        }
        None => notes.push(match inner.read_only {
            true => Refusal::ReadOnly.to_string(),
            false => Refusal::NoCluster.to_string(),
        }),
    }
    let mesh_items: Vec<(Target, Option<Value>)> =
        items.iter().map(|item| (item.target.clone(), item.live.clone())).collect();
    let known = inner.ask(&view, move |mesh| known(mesh, &mesh_items)).await;
    for (item, (before, stale)) in items.iter_mut().zip(known) {
        if stale {
            notes.push(format!(
                "{} was just changed: calls are judged by the version that the graph knows.",
                item.target
            ));
        }
        // Without an API server what the graph knows is what there is.
        let live = item.live.as_ref().and_then(|live| live_object(live, before.as_deref()));
        item.before = if cluster.is_some() { live } else { before };
        if item.manifest.is_none() && item.before.is_none() {
            return Err(Refusal::NotFound(format!("there is no {} to delete", item.target)));
        }
    }
    for item in &items {
        let needed = item.target.deed(item.action().verb());
        match inner.demand(who, &needed).await {
            Ok(()) => {}
            Err(refusal) if asked.simulate_only => {
                notes.push(format!("This could not be applied: {refusal}."))
            }
            Err(refusal) => return Err(refusal),
        }
    }
    if let Some(cluster) = cluster {
        for item in &mut items {
            if let Some(concern) = item.attempt(cluster, asked.force).await? {
                concerns.push(concern);
            }
        }
    }
    let owners: Vec<Option<change::Owner>> =
        items.iter().map(|item| item.live.as_ref().and_then(owner)).collect();
    concerns
        .extend(items.iter().zip(&owners).filter_map(|(item, owner)| kept_elsewhere(item, owner.as_ref()?)));

    let edits: Vec<Edit> = items.iter().map(Item::edit).collect();
    let assessed = edits.clone();
    let assessment = inner
        .ask(&view, move |mesh| change::assess(mesh, &assessed))
        .await
        .map_err(|error| Refusal::Invalid(error.to_string()))?;
    concerns.extend(assessment.concerns.iter().map(message::concern));
    concerns.sort_by_key(|concern| std::cmp::Reverse((concern.refuses, concern.severity)));

    let mut writes: Vec<Write> = items.iter().filter_map(Item::write).collect();
    order(&mut writes);
    if writes.len() > 1 {
        notes.push(
            "The objects are written one after the other; for a moment calls are decided by some of them only. What lets \
             in is written first, and if one fails those before it are undone."
                .to_owned(),
        );
    }
    notes.extend(assessment.impact.notes.iter().cloned());
    let impact = message::impact(&assessment.impact, scope);
    if *scope != Scope::All && impact.gained_count + impact.lost_count > 0 {
        notes.push(
            "Of the clients that gain or lose a permission, those in namespaces that you have no rights in are counted \
             and not named."
                .to_owned(),
        );
    }
    let objects: Vec<v1::PlannedObject> = items
        .iter()
        .zip(&owners)
        .zip(edits.iter().zip(&assessment.diffs))
        .map(|((item, owner), (edit, diff))| planned(item, owner.as_ref(), edit, diff))
        .collect();
    let payload_sha256 = payload(&writes);
    let mut response = v1::PlanChangeResponse {
        freshness: Some(inner.replica.freshness(&view)),
        plan: String::new(),
        expires: None,
        plan_id: String::new(),
        payload_sha256: payload_sha256.clone(),
        objects,
        concerns,
        impact: Some(impact),
        notes,
    };
    let refused = response.concerns.iter().any(|concern| concern.refuses);
    if cluster.is_none() || asked.simulate_only || refused || writes.is_empty() {
        return Ok(response);
    }
    let token = Token::new();
    let lifetime = i64::try_from(inner.lifetime.as_millis()).unwrap_or(i64::MAX);
    let plan = Plan {
        id: format!("p-{:016x}", rand::random::<u64>()),
        who: Who::of(who),
        expires_ms: now_ms().saturating_add(lifetime),
        payload_sha256,
        request_sha256: request_sha256(&asked.manifest, &asked.namespace),
        writes,
        diff: joined(&response.objects),
        touched: touched(&assessment),
        impact: super::describe::impact(response.impact.as_ref()),
    };
    let sealed = token.seal(serde_json::to_vec(&plan).expect("plans have text keys"));
    inner.store.keep_plan(&token.name(), &sealed, inner.lifetime).await?;
    response.plan = token.expose();
    response.plan_id = plan.id;
    response.expires = Some(timestamp(plan.expires_ms));
    Ok(response)
}

/// SHA-256 of everything that would be written, and of the versions that it would be written on.
pub(super) fn payload(writes: &[Write]) -> String {
    sha256(&canonical(&json!(writes)))
}

/// SHA-256 of a manifest and the namespace of what names none, as they came.
pub(super) fn request_sha256(manifest: &str, namespace: &str) -> String {
    sha256(format!("{namespace}\n{manifest}").as_bytes())
}

/// What the request is about, read and checked by itself.
fn items(asked: &v1::PlanChangeRequest, view: &View) -> Result<Vec<Item>, Refusal> {
    let mut items = Vec::new();
    if asked.removes.len() > stream::MAX_OBJECTS {
        return Err(stream::Error::TooMany.into());
    }
    for (at, mut value) in stream::read(&asked.manifest)?.into_iter().enumerate() {
        if let (Some(metadata), false) = (value["metadata"].as_object_mut(), asked.namespace.is_empty()) {
            metadata.entry("namespace").or_insert_with(|| asked.namespace.as_str().into());
        }
        let manifest = Manifest::read(&value).map_err(|error| {
            Refusal::Invalid(format!("object {} of the manifest: {}", at + 1, error.sentence()))
        })?;
        items.push(Item::put(manifest));
    }
    for id in &asked.removes {
        items.push(Item::remove(id, view)?);
    }
    if items.is_empty() {
        return Err(Refusal::Invalid(
            "there is nothing to change: give a manifest, or the ids of objects to delete".to_owned(),
        ));
    }
    if items.len() > stream::MAX_OBJECTS {
        return Err(stream::Error::TooMany.into());
    }
    let mut seen = BTreeSet::new();
    // Two versions of one kind are one object too.
    match items.iter().find(|item| !seen.insert(item.target.id())) {
        Some(twice) => {
            Err(Refusal::Invalid(format!("{} is in the request twice: give each object once", twice.target)))
        }
        None => Ok(items),
    }
}

/// What the graph knows of the objects, and whether it knows another version than the API server has.
fn known(mesh: &Mesh<'_>, items: &[(Target, Option<Value>)]) -> Vec<(Option<Arc<PolicyObject>>, bool)> {
    let of = |(target, live): &(Target, Option<Value>)| {
        let key = target.key();
        let known = mesh.policies.objects().policy(target.kind, &key).cloned();
        let stale = match (&known, live) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(known), Some(live)) => *known.spec != live["spec"],
        };
        (known, stale)
    };
    items.iter().map(of).collect()
}

/// An object of the API server as one of the graph's.
fn live_object(live: &Value, known: Option<&PolicyObject>) -> Option<Arc<PolicyObject>> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    let created = serde_json::from_value::<Time>(live["metadata"]["creationTimestamp"].clone());
    let object = Manifest::of_live(live).ok()?.object();
    Some(Arc::new(PolicyObject {
        created_ms: created.ok().map(|time| time.0.as_millisecond()).or(known.and_then(|it| it.created_ms)),
        status: known.map(|known| known.status.clone()).unwrap_or_default(),
        ..object
    }))
}

fn kept_elsewhere(item: &Item, owner: &change::Owner) -> Option<v1::Concern> {
    (item.action() != Action::Unchanged).then(|| v1::Concern {
        code: "kept-elsewhere".to_owned(),
        severity: v1::Severity::Error.into(),
        refuses: true,
        objects: vec![item.target.id().to_string()],
        text: owner.sentence.clone(),
        fix: "put what `repository_manifest` says into the repository".to_owned(),
    })
}

fn planned(
    item: &Item,
    owner: Option<&change::Owner>,
    edit: &Edit,
    diff: &change::Diff,
) -> v1::PlannedObject {
    let mut text = diff.text.clone();
    if diff.left_out > 0 {
        text.push_str(&format!("@@ {} more lines\n", diff.left_out));
    }
    text.push_str(&annotations(item));
    let owned = |owner: &change::Owner| format!("{} {}", owner.tool, owner.name).trim_end().to_owned();
    v1::PlannedObject {
        id: item.target.id().to_string(),
        action: item.action().as_str().to_owned(),
        diff: text,
        resource_version: item.live.as_ref().map(|it| Version::of(it).resource_version).unwrap_or_default(),
        owner: owner.map(owned).unwrap_or_default(),
        repository_manifest: owner.map(|_| patch_for_repository(edit)).unwrap_or_default(),
    }
}

/// What is different about annotations, which are none of the graph's business.
fn annotations(item: &Item) -> String {
    /// Annotations can hold whole documents.
    const MOST: usize = 256;
    let (Some(before), Some(after)) = (&item.live, item.after()) else { return String::new() };
    let of = |value: &Value, name: &str| value["metadata"]["annotations"][name].as_str().map(str::to_owned);
    let names = |value: &Value| -> BTreeSet<String> {
        value["metadata"]["annotations"].as_object().into_iter().flat_map(|it| it.keys().cloned()).collect()
    };
    let mut text = String::new();
    for name in names(before).union(&names(after)).filter(|name| !name.starts_with("kubectl.kubernetes.io/"))
    {
        let (old, new) = (of(before, name), of(after, name));
        for (sign, value) in [('-', &old), ('+', &new)].into_iter().filter(|_| old != new) {
            if let Some(value) = value {
                let value: String = value.chars().take(MOST).collect();
                text.push_str(&format!("{sign}metadata.annotations[{name:?}]: {value:?}\n"));
            }
        }
    }
    text
}

/// The differences of all objects, each under its id.
fn joined(objects: &[v1::PlannedObject]) -> String {
    let mut text = String::new();
    for object in objects.iter().filter(|object| !object.diff.is_empty()) {
        text.push_str(&format!("# {} {}\n{}", object.action, object.id, object.diff));
    }
    if text.len() > MOST_DIFF {
        let end = (0..=MOST_DIFF).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push_str("\n@@ the rest is left out\n");
    }
    text
}

fn touched(assessment: &Assessment) -> Vec<String> {
    let workloads: BTreeSet<String> =
        assessment.impact.ports_touched.iter().map(|port| port.workload.to_string()).collect();
    workloads.into_iter().collect()
}

// === impl Item ===

impl Item {
    fn put(manifest: Manifest) -> Self {
        let target = Target::new(manifest.kind, &manifest.api_version, &manifest.namespace, &manifest.name);
        Self::of(target, Some(manifest))
    }

    fn remove(id: &str, view: &View) -> Result<Self, Refusal> {
        let wrong = || {
            let kinds: Vec<&str> = CHANGEABLE.iter().map(|kind| kind.policy_prefix()).collect();
            Refusal::Invalid(format!(
                "`{}` is no id of an object that can be deleted here; write kind/namespace/name, with one of the kinds {}",
                id.chars().take(256).collect::<String>(),
                kinds.join(", ")
            ))
        };
        let id: PolicyId = id.parse().map_err(|_| wrong())?;
        let kind = CHANGEABLE.into_iter().find(|kind| kind.policy_prefix() == id.kind()).ok_or_else(wrong)?;
        if !is_name(id.namespace()) || !is_name(id.name()) {
            return Err(wrong());
        }
        let row = kind.row();
        let graph = &view.graph;
        let known = match kind {
            Kind::AuthorizationPolicy => graph.auth_policies.get(&ObjectId::new(id.namespace(), id.name())),
            _ => graph.policies.get(&id),
        };
        let newest = || format!("{}/{}", row.group, row.versions[0]);
        let api_version = known.map_or_else(newest, |policy| policy.api_version.to_string());
        Ok(Self::of(Target::new(kind, &api_version, id.namespace(), id.name()), None))
    }

    fn of(target: Target, manifest: Option<Manifest>) -> Self {
        Self { target, manifest, live: None, tried: None, force: false, before: None }
    }

    /// Lets the API server do all but store it. What it refuses speaks against the change; what it could not be asked
    /// ends the plan.
    async fn attempt(
        &mut self,
        cluster: &super::cluster::Cluster,
        force: bool,
    ) -> Result<Option<v1::Concern>, Refusal> {
        self.force = force;
        let mut tried = self.whole().send(cluster, Mode::Try).await;
        if let Err(fault) = &tried
            && fault.is_only_with(FIELD_MANAGER)
        {
            // What an earlier rollback of ours put back is ours in another role.
            self.force = true;
            tried = self.whole().send(cluster, Mode::Try).await;
        }
        let (code, fault) = match tried {
            Ok(tried) => {
                self.tried = tried;
                return Ok(None);
            }
            Err(fault @ (Fault::Changed { .. } | Fault::Unreachable { .. } | Fault::NotServed { .. })) => {
                return Err(fault.into());
            }
            Err(fault @ Fault::Conflict { .. }) => ("field-conflict", fault),
            Err(fault @ Fault::Denied { .. }) => ("not-admitted", fault),
            Err(fault @ Fault::Invalid { .. }) => ("invalid-object", fault),
            Err(fault @ Fault::Forbidden { .. }) => ("not-permitted", fault),
        };
        Ok(Some(v1::Concern {
            code: code.to_owned(),
            severity: v1::Severity::Error.into(),
            refuses: true,
            objects: vec![self.target.id().to_string()],
            text: chain(&fault),
            fix: String::new(),
        }))
    }

    /// What the object would be: as the API server has tried it, else as it was written.
    fn after(&self) -> Option<&Value> {
        self.tried.as_ref()
    }

    fn action(&self) -> Action {
        let exists = self.live.is_some() || self.before.is_some();
        match (exists, &self.manifest) {
            (false, Some(_)) => Action::Create,
            (_, None) => Action::Delete,
            (true, Some(_)) if self.is_same() => Action::Unchanged,
            (true, Some(_)) => Action::Update,
        }
    }

    /// True when the API server would store what it has.
    fn is_same(&self) -> bool {
        let (Some(live), Some(tried)) = (&self.live, &self.tried) else { return false };
        let of = |value: &Value, field: &str| match &value["metadata"][field] {
            Value::Object(fields) if fields.is_empty() => Value::Null,
            other => other.clone(),
        };
        live["spec"] == tried["spec"]
            && ["labels", "annotations"].iter().all(|field| of(live, field) == of(tried, field))
    }

    fn edit(&self) -> Edit {
        let key = self.target.key();
        let Some(manifest) = &self.manifest else {
            return Edit { kind: self.target.kind, key, before: self.before.clone(), after: None };
        };
        let after = self.after().and_then(|tried| Manifest::of_live(tried).ok());
        Edit::between(self.before.clone(), after.as_ref().unwrap_or(manifest))
    }

    /// What is to be sent to the API server, whatever comes of it.
    fn whole(&self) -> Write {
        Write {
            target: self.target.clone(),
            action: self.action(),
            version: self.live.as_ref().map(Version::of),
            body: self.manifest.as_ref().map(Manifest::value),
            force: self.force,
        }
    }

    /// What is to be written; none when nothing would be different.
    fn write(&self) -> Option<Write> {
        (self.action() != Action::Unchanged).then(|| self.whole())
    }
}
