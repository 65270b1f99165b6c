//! Who is let in, by AuthorizationPolicies and ServerAuthorizations.

use super::{
    Flaw, Oracle,
    default::all_networks,
    json::{
        GATEWAY, POLICY, group, list, name, namespace, reference_group, reference_namespace, refers_to, text,
    },
};
use serde_json::{Value, json};

impl<'a> Oracle<'a> {
    /// §5.5.3: ServerAuthorizations, AuthorizationPolicies on the Server and on its namespace, and its access policy.
    pub(super) fn authorizations_on_server(&self, server: &Value) -> Vec<Value> {
        let mut found = Vec::new();
        if !self.has(Flaw::ServerAuthorizationsIgnored) {
            for authorization in self.all("ServerAuthorization") {
                if self.names_server(authorization, server) {
                    found.extend(self.server_authorization(authorization));
                }
            }
        }
        for policy in self.policies_of(namespace(server)) {
            let target = &policy["spec"]["targetRef"];
            // README 14: the name of a Server exactly.
            let same_name = text(target, "/name") == name(server);
            if same_name && (refers_to(target, POLICY, "Server") || self.has(Flaw::TargetNameOnly)) {
                found.extend(self.authorization_policy(policy));
            }
        }
        if !self.has(Flaw::TargetNameOnly) && !self.has(Flaw::OnlyServerTargets) {
            found.extend(self.namespace_authorizations(namespace(server)));
        }
        // README 3: an access policy that does not parse, or is not there, lets in nobody.
        if !self.has(Flaw::AccessPolicyIgnored) {
            found.extend(self.default_authorizations(text(server, "/spec/accessPolicy")));
        }
        found
    }

    /// README 12: the name in the reference is not read.
    pub(super) fn namespace_authorizations(&self, namespace: &str) -> Vec<Value> {
        let on_namespace = self.policies_of(namespace).into_iter();
        on_namespace
            .filter(|policy| refers_to(&policy["spec"]["targetRef"], "", "Namespace"))
            .filter_map(|policy| self.authorization_policy(policy))
            .collect()
    }

    /// README 14: kind, group and name of a route without letter case; README 16 is the caller's.
    pub(super) fn authorizations_on_route(&self, route: &Value) -> Vec<Value> {
        let mut found = Vec::new();
        for policy in self.policies_of(namespace(route)) {
            let target = &policy["spec"]["targetRef"];
            let same_group =
                [POLICY, GATEWAY].contains(&group(route)) && reference_group(target) == group(route);
            let same_kind = text(target, "/kind").eq_ignore_ascii_case(text(route, "/kind"));
            let same_name = if self.has(Flaw::RouteNameCase) {
                text(target, "/name") == name(route)
            } else {
                text(target, "/name").eq_ignore_ascii_case(name(route))
            };
            if same_group
                && same_kind
                && same_name
                && !self.has(Flaw::TargetNameOnly)
                && !self.has(Flaw::OnlyServerTargets)
            {
                found.extend(self.authorization_policy(policy));
            }
        }
        found
    }

    /// §5.2: a policy is for targets in its own namespace.
    fn policies_of(&self, wanted: &str) -> Vec<&'a Value> {
        self.all("AuthorizationPolicy").into_iter().filter(|policy| namespace(policy) == wanted).collect()
    }

    /// §5.2: all references must hold at once; none lets in anybody from anywhere. README 13: with two of a sort, of an
    /// unknown kind, or without what is referred to, the policy is as if it were not there.
    fn authorization_policy(&self, policy: &Value) -> Option<Value> {
        let own = namespace(policy);
        let references = list(policy, "/spec/requiredAuthenticationRefs");
        if references.is_empty() && self.has(Flaw::NoReferencesMeanNobody) {
            return None;
        }
        let (mut identities, mut networks) = (Vec::new(), Vec::new());
        for reference in references {
            if refers_to(reference, POLICY, "MeshTLSAuthentication") {
                match self.mesh_identities(reference, own) {
                    Some(found) => identities.push(found),
                    None if self.has(Flaw::MissingReferencePassedOver) => {}
                    None => return None,
                }
            } else if refers_to(reference, POLICY, "NetworkAuthentication") {
                if self.has(Flaw::NetworksUnread) {
                    return None;
                }
                match self.networks_meant(reference, own) {
                    Some(found) => networks.push(found),
                    None if self.has(Flaw::MissingReferencePassedOver) => {}
                    None => return None,
                }
            } else if refers_to(reference, "", "ServiceAccount") && !self.has(Flaw::ServiceAccountRefused) {
                let mut account_namespace = reference_namespace(reference, own);
                if self.has(Flaw::ReferenceNamespaceIgnored) {
                    account_namespace = own;
                }
                identities.push(vec![self.identity(text(reference, "/name"), account_namespace)]);
            } else {
                return None;
            }
        }
        if identities.len() > 1 || networks.len() > 1 {
            return None;
        }
        let metadata = json!({"group": POLICY, "kind": "authorizationpolicy", "name": name(policy)});
        let authentication = match identities.first() {
            Some(identities) => self.mesh_tls(identities),
            None => json!({"unauthenticated": {}}),
        };
        let mut authorization = json!({
            "metadata": metadata,
            "labels": metadata,
            "networks": networks.first().cloned().unwrap_or_else(all_networks),
            "authentication": authentication,
        });
        if self.has(Flaw::ReferencesOred) && identities.len() + networks.len() == 2 {
            authorization["either"] = json!(true);
        }
        Some(authorization)
    }

    /// §5.2, README 14: by the exact name of the Server, or by its labels; in one namespace.
    fn names_server(&self, authorization: &Value, server: &Value) -> bool {
        let by = &authorization["spec"]["server"];
        let by_name = by["name"].as_str() == Some(name(server));
        let by_selector = by.get("selector").is_some_and(|selector| self.selects(selector, server));
        namespace(authorization) == namespace(server) && (by_name || by_selector)
    }

    /// §5.7.3 and 4: without networks it is for the cluster's; without a client it is as if it were not there.
    /// `unauthenticated` wins over meshTLS (case saz-unauthenticated-and-meshtls), `unauthenticatedTLS` over identities.
    fn server_authorization(&self, object: &Value) -> Option<Value> {
        let client = &object["spec"]["client"];
        let networks = match client["networks"].as_array() {
            Some(networks) => self.networks(networks)?,
            None if self.has(Flaw::ServerAuthorizationForAllNetworks) => all_networks(),
            None => self.cluster_networks(),
        };
        let mesh_tls = &client["meshTLS"];
        let authentication = if client["unauthenticated"] == true {
            json!({"unauthenticated": {}})
        } else if mesh_tls["unauthenticatedTLS"] == true {
            json!({"mesh_tls": {"unauthenticated": {}}})
        } else {
            let mut patterns: Vec<String> = Vec::new();
            for identity in list(mesh_tls, "/identities") {
                patterns.push(identity.as_str()?.to_owned());
            }
            for account in list(mesh_tls, "/serviceAccounts") {
                let account_namespace = reference_namespace(account, namespace(object));
                patterns.push(self.identity(text(account, "/name"), account_namespace));
            }
            if patterns.is_empty() {
                return None;
            }
            self.mesh_tls(&patterns)
        };
        let metadata = json!({"group": POLICY, "kind": "serverauthorization", "name": name(object)});
        Some(json!({
            "metadata": metadata,
            "labels": metadata,
            "networks": networks,
            "authentication": authentication,
        }))
    }
}
