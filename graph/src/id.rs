//! Names of things. Every id is a stable string that is used as a map key; never an index, never a bare name
//! without its namespace. Cloning one copies a pointer.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

/// Text shared by everything that mentions it: namespaces, names and label values repeat thousands of times.
pub type Text = Arc<str>;

/// A typed id: a string of the form that `T` describes.
pub struct Id<T> {
    text: Text,
    form: PhantomData<fn() -> T>,
}

/// The form of one type of id.
pub trait Form {
    /// How the id looks, for error messages.
    const LOOKS_LIKE: &'static str;
    /// True when `text` has this form.
    fn accepts(text: &str) -> bool;
}

/// Text that is not an id of the wanted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not of the form `{looks_like}`")]
pub struct ParseError {
    text: String,
    looks_like: &'static str,
}

/// `namespace/name`.
pub enum ObjectForm {}
/// `namespace/kind/name`, kind in lower case.
pub enum WorkloadForm {}
/// `source->destination`.
pub enum EdgeForm {}
/// `kind/namespace/name`, kind as in [`crate::kind::Kind::policy_prefix`].
pub enum PolicyForm {}
/// `host:port`.
pub enum ExternalForm {}

/// A namespaced object of a kind known from context: a Service or an AuthorizationPolicy.
pub type ObjectId = Id<ObjectForm>;
/// A Service.
pub type ServiceId = Id<ObjectForm>;
/// The topmost owner of pods.
pub type WorkloadId = Id<WorkloadForm>;
/// Who calls whom.
pub type EdgeId = Id<EdgeForm>;
/// A policy object or route.
pub type PolicyId = Id<PolicyForm>;
/// A destination outside the cluster.
pub type ExternalId = Id<ExternalForm>;

/// True when `text` can be the name of an object, a namespace or a kind.
///
/// That is up to 253 letters, digits, `-`, `_` and `.`, all that Kubernetes allows in the names of what the graph is made
/// of. Ids are made of such names and nothing else. Text that only looks like one (a label of a series, a pod's reference
/// to its owner, which Kubernetes does not check) would make an id that no reader of the graph accepts, and with it a
/// snapshot that every replica refuses.
pub fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

// === impl Id ===

impl<T> Id<T> {
    fn trusted(text: impl Into<Text>) -> Self {
        Self { text: text.into(), form: PhantomData }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl ObjectId {
    /// `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self::trusted(format!("{namespace}/{name}"))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.text.split('/').next().unwrap_or_default()
    }

    /// The name without its namespace.
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }
}

impl WorkloadId {
    /// `namespace/kind/name`; the kind is put in lower case.
    pub fn new(namespace: &str, kind: &str, name: &str) -> Self {
        Self::trusted(format!("{namespace}/{}/{name}", kind.to_ascii_lowercase()))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.part(0)
    }

    /// The kind in lower case, as in `deployment`.
    pub fn kind(&self) -> &str {
        self.part(1)
    }

    /// The name without namespace and kind.
    pub fn name(&self) -> &str {
        self.part(2)
    }

    fn part(&self, nth: usize) -> &str {
        self.text.split('/').nth(nth).unwrap_or_default()
    }
}

impl PolicyId {
    /// `kind/namespace/name`.
    pub fn new(prefix: &str, namespace: &str, name: &str) -> Self {
        Self::trusted(format!("{prefix}/{namespace}/{name}"))
    }

    /// The kind, as in `server` or `httproute.gateway.networking.k8s.io`.
    pub fn kind(&self) -> &str {
        self.text.split('/').next().unwrap_or_default()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.text.split('/').nth(1).unwrap_or_default()
    }

    /// The name without kind and namespace.
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }
}

impl ExternalId {
    /// `host:port`; `address` is taken as a proxy prints it in `target_addr`.
    pub fn new(address: &str) -> Self {
        Self::trusted(address)
    }

    /// Host or IP address without the port and without brackets.
    pub fn host(&self) -> &str {
        let host = self.text.rsplit_once(':').map_or(self.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, where there is one.
    pub fn port(&self) -> Option<u16> {
        self.text.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }
}

impl EdgeId {
    /// `source->destination`.
    pub fn new(source: &Source, destination: &Destination) -> Self {
        Self::trusted(format!("{source}->{destination}"))
    }

    /// The same of the text of both.
    pub(crate) fn of_texts(source: &str, destination: &str) -> Self {
        Self::trusted([source, "->", destination].concat())
    }

    /// Of its two halves as text, the first one with the arrow.
    pub(crate) fn joined(source: &str, destination: &str) -> Self {
        Self::trusted([source, destination].concat())
    }
}

impl<T: Form> FromStr for Id<T> {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if T::accepts(text) {
            Ok(Self::trusted(text))
        } else {
            Err(ParseError { text: text.to_owned(), looks_like: T::LOOKS_LIKE })
        }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        Self::trusted(self.text.clone())
    }
}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<T> std::borrow::Borrow<str> for Id<T> {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T: Form> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Reads the text where it stands: no string is made that is thrown away.
        struct OfForm<T>(PhantomData<fn() -> T>);
        impl<T: Form> Visitor<'_> for OfForm<T> {
            type Value = Id<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string of the form `{}`", T::LOOKS_LIKE)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id<T>, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(OfForm(PhantomData))
    }
}

// === impl Form ===

/// True for `count` parts between slashes, none of them empty and none with characters Kubernetes would not allow.
fn parts(text: &str, count: usize) -> bool {
    let mut seen = 0;
    for part in text.split('/') {
        seen += 1;
        if part.is_empty() || part.len() > 253 || !part.bytes().all(|b| b.is_ascii_graphic()) {
            return false;
        }
    }
    seen == count
}

impl Form for ObjectForm {
    const LOOKS_LIKE: &'static str = "namespace/name";
    fn accepts(text: &str) -> bool {
        parts(text, 2)
    }
}

impl Form for WorkloadForm {
    const LOOKS_LIKE: &'static str = "namespace/kind/name";
    fn accepts(text: &str) -> bool {
        parts(text, 3)
    }
}

impl Form for EdgeForm {
    const LOOKS_LIKE: &'static str = "source->destination";
    fn accepts(text: &str) -> bool {
        text.split_once("->")
            .is_some_and(|(source, destination)| Source::accepts(source) && Destination::accepts(destination))
    }
}

impl Form for PolicyForm {
    const LOOKS_LIKE: &'static str = "kind/namespace/name";
    fn accepts(text: &str) -> bool {
        parts(text, 3)
    }
}

impl Form for ExternalForm {
    const LOOKS_LIKE: &'static str = "host:port";
    fn accepts(text: &str) -> bool {
        !text.is_empty() && text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'>')
    }
}

/// Where calls of an edge come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A workload whose own proxy counted the calls, or whose identity leads to it alone.
    Workload(WorkloadId),
    /// Only the mesh identity is known: several workloads share it, or none of this cluster has it.
    Identity(Text),
    /// Not even that: clients without a mesh identity, by the reason the server's proxy gives.
    Unmeshed(Text),
}

/// Where calls of an edge go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// The Service that the client called.
    Service(ServiceId, Option<u16>),
    /// A workload called by the address of its pods.
    Workload(WorkloadId, Option<u16>),
    /// Something outside the cluster.
    External(ExternalId),
}

const IDENTITY: &str = "identity:";
const UNMESHED: &str = "unmeshed:";
const EXTERNAL: &str = "external:";

// === impl Source ===

impl Source {
    /// The namespace of the workload, or of the ServiceAccount in the identity.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Workload(id) => Some(id.namespace()),
            Self::Identity(name) => crate::id::service_account(name).map(|(namespace, _)| namespace),
            Self::Unmeshed(_) => None,
        }
    }
}

impl Source {
    /// Whether `text` can be read, without making anything of it: a snapshot has an id per edge.
    fn accepts(text: &str) -> bool {
        match text.strip_prefix(IDENTITY).or_else(|| text.strip_prefix(UNMESHED)) {
            Some(rest) if named(rest) => true,
            _ => WorkloadForm::accepts(text),
        }
    }
}

/// The rest of a source that is no workload. Without `>`, because an edge's id is split where the arrow is.
pub(crate) fn named(rest: &str) -> bool {
    !rest.is_empty() && rest.len() <= 512 && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'>')
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(id) => write!(f, "{id}"),
            Self::Identity(name) => write!(f, "{IDENTITY}{name}"),
            Self::Unmeshed(reason) => write!(f, "{UNMESHED}{reason}"),
        }
    }
}

impl FromStr for Source {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            _ if text.strip_prefix(IDENTITY).is_some_and(named) => {
                Ok(Self::Identity(text[IDENTITY.len()..].into()))
            }
            _ if text.strip_prefix(UNMESHED).is_some_and(named) => {
                Ok(Self::Unmeshed(text[UNMESHED.len()..].into()))
            }
            _ => text.parse().map(Self::Workload),
        }
    }
}

// === impl Destination ===

impl Destination {
    /// The namespace, where the destination is in the cluster.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Service(id, _) => Some(id.namespace()),
            Self::Workload(id, _) => Some(id.namespace()),
            Self::External(_) => None,
        }
    }

    /// The port, where it is known.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Service(_, port) | Self::Workload(_, port) => *port,
            Self::External(id) => id.port(),
        }
    }
}

impl Destination {
    /// As [`Source::accepts`].
    fn accepts(text: &str) -> bool {
        if let Some(external) = text.strip_prefix(EXTERNAL) {
            return ExternalForm::accepts(external);
        }
        let (id, _) = split_port(text);
        ObjectForm::accepts(id) || WorkloadForm::accepts(id)
    }
}

fn split_port(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':') {
        Some((id, port)) => match port.parse() {
            Ok(port) => (id, Some(port)),
            Err(_) => (text, None),
        },
        None => (text, None),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(id, port) => write_with_port(f, id.as_str(), *port),
            Self::Workload(id, port) => write_with_port(f, id.as_str(), *port),
            Self::External(id) => write!(f, "{EXTERNAL}{id}"),
        }
    }
}

fn write_with_port(f: &mut fmt::Formatter<'_>, id: &str, port: Option<u16>) -> fmt::Result {
    match port {
        Some(port) => write!(f, "{id}:{port}"),
        None => f.write_str(id),
    }
}

impl FromStr for Destination {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(external) = text.strip_prefix(EXTERNAL) {
            return external.parse().map(Self::External);
        }
        let (id, port) = split_port(text);
        match id.matches('/').count() {
            1 => id.parse().map(|id| Self::Service(id, port)),
            _ => id.parse().map(|id| Self::Workload(id, port)),
        }
    }
}

/// Serde for values whose wire form is their text, for `#[serde(with = "…")]`.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::{borrow::Cow, fmt::Display, str::FromStr};

    /// Writes `value` as its text.
    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads a value from its text.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Namespace and name of the ServiceAccount in a mesh identity of Linkerd's own form.
///
/// The form is `<sa>.<ns>.serviceaccount.identity.<linkerd-ns>.<trust-domain>`. ServiceAccount names may contain dots and
/// namespaces may not, so the split is at the last dot before the suffix. SPIFFE ids have none.
pub fn service_account(identity: &str) -> Option<(&str, &str)> {
    let (subject, _) = identity.split_once(".serviceaccount.identity.")?;
    let (name, namespace) = subject.rsplit_once('.')?;
    (!name.is_empty() && !namespace.is_empty()).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_wrong_form_are_refused_with_the_form_that_was_expected() {
        let error = "web".parse::<ServiceId>().unwrap_err();
        assert_eq!(error.to_string(), "`web` is not of the form `namespace/name`");
        assert!("shop//web".parse::<WorkloadId>().is_err());
        assert!("shop/web".parse::<EdgeId>().is_err());
    }

    #[test]
    fn sources_and_destinations_survive_their_text_form() {
        for text in [
            "shop/deployment/web",
            "identity:web.shop.serviceaccount.identity.linkerd.cluster.local",
            "unmeshed:no_tls_from_remote",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for text in [
            "shop/web:80",
            "shop/deployment/web:8080",
            "shop/web",
            "external:203.0.113.10:443",
            "external:[2001:db8::1]:443",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_accepted_is_what_can_be_read() {
        let ends = [
            "shop/deployment/web",
            "shop/web",
            "shop/web:80",
            "shop/web:x",
            "shop/deployment/web:99999",
            "identity:",
            "identity:a",
            "identity:a b",
            "unmeshed:no",
            "unmeshed:",
            "external:[2001:db8::1]:443",
            "external:",
            "external:a>b",
            "a",
            "",
            "a/b/c/d",
            "a//b",
            "identity:a/b",
            "unmeshed:a/b/c",
        ];
        for text in ends {
            assert_eq!(Source::accepts(text), text.parse::<Source>().is_ok(), "source {text}");
            assert_eq!(Destination::accepts(text), text.parse::<Destination>().is_ok(), "destination {text}");
        }
    }

    #[test]
    fn an_ipv6_external_gives_its_host_without_brackets() {
        let id = ExternalId::new("[2001:db8::1]:443");
        assert_eq!((id.host(), id.port()), ("2001:db8::1", Some(443)));
    }

    #[test]
    fn a_service_account_with_dots_is_split_at_the_last_one() {
        let identity = "web.v2.shop.serviceaccount.identity.linkerd.cluster.local";
        assert_eq!(service_account(identity), Some(("shop", "web.v2")));
        assert_eq!(service_account("spiffe://root.linkerd.cluster.local/vm"), None);
    }
}
