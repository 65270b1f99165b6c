//! Who may do what, asked of the API server for every verb and every resource that it serves.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    api::authorization::v1::{
        NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
    },
    apimachinery::pkg::apis::meta::v1::APIResource,
};
use kube::{Api, Client, api::PostParams};
use std::collections::{BTreeMap, BTreeSet};

/// A kind of object, or a part of one as in `pods/exec`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for core.
    pub group: String,
    /// Plural name, and after a slash the part.
    pub name: String,
    /// False where its objects are in no namespace.
    pub namespaced: bool,
}

/// Where something is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The namespace; empty for all of them, and for what is in none.
    pub namespace: String,
    /// The only object meant; empty for all.
    pub object: String,
}

/// Something to ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Ask {
    place: Place,
    resource: Resource,
    verb: &'static str,
}

/// What one account may do: verbs by place and resource.
pub type Rights = BTreeMap<(Place, Resource), BTreeSet<&'static str>>;

/// The verbs of the API server's own requests.
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Rights that are no requests, or of no resource that is served: to be somebody else, to give rights one does not
/// have, to have certificates signed; and all at once.
const MORE: [(&str, &str, &str); 13] = [
    ("impersonate", "", "users"),
    ("impersonate", "", "groups"),
    ("impersonate", "", "serviceaccounts"),
    ("impersonate", "authentication.k8s.io", "userextras"),
    ("impersonate", "authentication.k8s.io", "uids"),
    ("bind", "rbac.authorization.k8s.io", "roles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("escalate", "rbac.authorization.k8s.io", "roles"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("approve", "certificates.k8s.io", "signers"),
    ("sign", "certificates.k8s.io", "signers"),
    ("attest", "certificates.k8s.io", "signers"),
    ("*", "*", "*"),
];

/// How many questions are asked at once.
const AT_ONCE: usize = 32;

/// Everything that the API server serves, parts included, whatever the version.
///
/// # Errors
///
/// When it does not answer.
pub async fn resources(client: &Client) -> Result<BTreeSet<Resource>, kube::Error> {
    let mut resources = BTreeSet::new();
    let mut add = |group: &str, served: Vec<APIResource>| {
        resources.extend(served.into_iter().map(|it| Resource {
            group: group.to_owned(),
            name: it.name,
            namespaced: it.namespaced,
        }));
    };
    for version in client.list_core_api_versions().await?.versions {
        add("", client.list_core_api_resources(&version).await?.resources);
    }
    for group in client.list_api_groups().await?.groups {
        for version in &group.versions {
            let served = client.list_api_group_resources(&version.group_version).await?;
            add(&group.name, served.resources);
        }
    }
    Ok(resources)
}

/// The name of a ServiceAccount as a user.
pub fn account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Asks for every verb on every resource at every place, as this ServiceAccount. What is allowed in all namespaces is
/// not said again of one, nor what is allowed of all objects of one.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn walk(
    client: &Client,
    account: &str,
    resources: &BTreeSet<Resource>,
    places: &[Place],
) -> Result<Rights, kube::Error> {
    let all = Place { namespace: String::new(), object: String::new() };
    let mut asks = Vec::new();
    for place in [&all].into_iter().chain(places) {
        // A Namespace is in none, and yet a Role in it may be about it.
        let fits = |it: &&Resource| it.namespaced || place.namespace.is_empty() || it.name == "namespaces";
        let served = resources.iter().filter(fits).flat_map(|it| VERBS.map(|verb| (verb, it.clone())));
        let more = MORE.map(|(verb, group, name)| {
            let resource = Resource { group: group.to_owned(), name: name.to_owned(), namespaced: false };
            (verb, resource)
        });
        asks.extend(served.chain(more).map(|(verb, resource)| Ask { place: place.clone(), resource, verb }));
    }
    let allowed: BTreeSet<Ask> = stream::iter(asks)
        .map(async |ask: Ask| {
            let allowed = may(client, account, ask.verb, &ask.resource, &ask.place).await?;
            Ok::<_, kube::Error>(allowed.then_some(ask))
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(async |ask| Ok(ask))
        .try_collect()
        .await?;
    let mut rights = Rights::new();
    for ask in &allowed {
        let wider = [("", ""), (&*ask.place.namespace, "")].iter().any(|(namespace, object)| {
            let place = Place { namespace: (*namespace).to_owned(), object: (*object).to_owned() };
            place != ask.place && allowed.contains(&Ask { place, ..ask.clone() })
        });
        if !wider {
            rights.entry((ask.place.clone(), ask.resource.clone())).or_default().insert(ask.verb);
        }
    }
    Ok(rights)
}

/// Which of these paths the account may get, of those that are no resources.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn paths<'a>(
    client: &Client,
    account: &str,
    paths: &[&'a str],
) -> Result<Vec<&'a str>, kube::Error> {
    let mut allowed = Vec::new();
    for path in paths {
        let attributes =
            NonResourceAttributes { path: Some((*path).to_owned()), verb: Some("get".to_owned()) };
        let spec = SubjectAccessReviewSpec { non_resource_attributes: Some(attributes), ..subject(account) };
        if review(client, spec).await? {
            allowed.push(*path);
        }
    }
    Ok(allowed)
}

/// Rights as a table: a line for each place and list of verbs.
pub fn table(rights: &Rights) -> String {
    let mut lines: BTreeMap<(&Place, String), Vec<String>> = BTreeMap::new();
    let order = |verb: &str| VERBS.iter().position(|it| *it == verb).unwrap_or(VERBS.len());
    for ((place, resource), verbs) in rights {
        let mut verbs: Vec<&str> = verbs.iter().copied().collect();
        verbs.sort_by_key(|verb| order(verb));
        let name = match resource.group.as_str() {
            "" => resource.name.clone(),
            group => format!("{}.{group}", resource.name),
        };
        lines.entry((place, verbs.join(" "))).or_default().push(name);
    }
    let mut text = String::new();
    for ((place, verbs), resources) in lines {
        let namespace = if place.namespace.is_empty() { "everywhere" } else { &place.namespace };
        text += &match place.object.as_str() {
            "" => format!("  {namespace}: {verbs}\n"),
            object => format!("  {namespace}, only {object}: {verbs}\n"),
        };
        for resource in resources {
            text += &format!("    {resource}\n");
        }
    }
    if text.is_empty() { "  nothing\n".to_owned() } else { text }
}

/// True when the account may do this.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn may(
    client: &Client,
    account: &str,
    verb: &str,
    resource: &Resource,
    place: &Place,
) -> Result<bool, kube::Error> {
    let (name, part) = match resource.name.split_once('/') {
        Some((name, part)) => (name, Some(part.to_owned())),
        None => (resource.name.as_str(), None),
    };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = ResourceAttributes {
        group: Some(resource.group.clone()),
        resource: Some(name.to_owned()),
        subresource: part,
        namespace: some(&place.namespace),
        name: some(&place.object),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec { resource_attributes: Some(attributes), ..subject(account) };
    review(client, spec).await
}

/// The account with the groups that its token would put it into.
fn subject(account: &str) -> SubjectAccessReviewSpec {
    let namespace = account.split(':').nth(2).unwrap_or_default();
    let groups = vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    SubjectAccessReviewSpec {
        user: Some(account.to_owned()),
        groups: Some(groups),
        ..SubjectAccessReviewSpec::default()
    }
}

async fn review(client: &Client, spec: SubjectAccessReviewSpec) -> Result<bool, kube::Error> {
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
