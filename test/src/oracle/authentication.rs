//! MeshTLSAuthentications and NetworkAuthentications: lists of identities and networks.

use super::{
    Flaw, Oracle,
    json::{list, name, namespace, reference_namespace, refers_to, text},
};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::IpAddr;

impl Oracle<'_> {
    /// The patterns of a MeshTLSAuthentication: its identities, then those its references mean (README 15). `None`
    /// where it is not there or is none (README 13).
    pub(super) fn mesh_identities(&self, reference: &Value, own: &str) -> Option<Vec<String>> {
        let object = self.authentication("MeshTLSAuthentication", reference, own)?;
        let mut patterns: Vec<String> = Vec::new();
        for identity in list(object, "/spec/identities") {
            patterns.push(identity.as_str()?.to_owned());
        }
        if !self.has(Flaw::IdentityRefsIgnored) {
            for reference in list(object, "/spec/identityRefs") {
                patterns.push(self.identity_meant(reference, namespace(object))?);
            }
        }
        (!patterns.is_empty()).then_some(patterns)
    }

    /// README 13: accounts and namespaces need not exist; without a namespace an account is of the referrer's. §5.2: a
    /// Namespace means all accounts in it. Other kinds make the authentication none.
    pub(super) fn identity_meant(&self, reference: &Value, own: &str) -> Option<String> {
        if refers_to(reference, "", "ServiceAccount") {
            Some(self.identity(text(reference, "/name"), reference_namespace(reference, own)))
        } else if refers_to(reference, "", "Namespace") {
            Some(format!("*.{}", self.identities_of_namespace(text(reference, "/name"))))
        } else {
            None
        }
    }

    /// The networks of a NetworkAuthentication. `None` where it is not there or is none (README 13).
    pub(super) fn networks_meant(&self, reference: &Value, own: &str) -> Option<Vec<Value>> {
        let object = self.authentication("NetworkAuthentication", reference, own)?;
        let networks = self.networks(list(object, "/spec/networks"))?;
        (!networks.is_empty()).then_some(networks)
    }

    /// README 15: as written, host bits too, but a bare address is a network of one. `None` if one does not parse.
    pub(super) fn networks(&self, networks: &[Value]) -> Option<Vec<Value>> {
        let mut read: Vec<Value> = Vec::new();
        for network in networks {
            let mut except: Vec<String> = Vec::new();
            for net in list(network, "/except") {
                except.push(cidr(net.as_str()?)?);
            }
            if self.has(Flaw::ExceptIgnored) {
                except.clear();
            }
            read.push(json!({"net": cidr(text(network, "/cidr"))?, "except": except}));
        }
        Some(read)
    }

    /// README 14: names of authentications match exactly.
    fn authentication(&self, kind: &str, reference: &Value, own: &str) -> Option<&Value> {
        let mut wanted = reference_namespace(reference, own);
        if self.has(Flaw::ReferenceNamespaceIgnored) {
            wanted = own;
        }
        let found = self.all(kind).into_iter();
        found
            .filter(|object| namespace(object) == wanted)
            .find(|object| name(object) == text(reference, "/name"))
    }

    /// The form of the recordings. README 15: only a leading `*.` is special, `*` is the suffix of no labels.
    pub(super) fn mesh_tls(&self, patterns: &[String]) -> Value {
        let (mut identities, mut suffixes) = (Vec::new(), Vec::new());
        for pattern in patterns {
            if pattern == "*" {
                suffixes.push(Vec::new());
            } else if let (Some(suffix), false) = (pattern.strip_prefix("*."), self.has(Flaw::SuffixIsExact))
            {
                suffixes.push(suffix.split('.').collect::<Vec<_>>());
            } else {
                identities.push(pattern);
            }
        }
        json!({"mesh_tls": {"identities": identities, "suffixes": suffixes}})
    }
}

fn cidr(text: &str) -> Option<String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(address).map(|net| net.to_string())
}
