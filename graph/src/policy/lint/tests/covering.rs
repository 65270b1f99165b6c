//! Whether one authorization covers another.

use crate::policy::{
    Client,
    answer::{Authentication, Authorization, Clients, Labels, Metadata, Network, Protocol, Server},
    lint::cover::covers,
};
use proptest::prelude::*;
use std::{net::IpAddr, sync::Arc};

const NETWORKS: [&str; 9] = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "fd00::/8",
    "fd00:1::/32",
];
const ADDRESSES: [&str; 7] =
    ["10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "192.0.2.1", "fd00:1::1", "2001:db8::1"];
const IDENTITIES: [&str; 5] = ["a.x.test", "b.x.test", "a.y.test", "x.test", "spiffe://root/x"];
const SUFFIXES: [&str; 4] = ["", "x.test", "y.test", "test"];

fn mk_authorization(networks: Vec<Network>, authentication: Authentication) -> Authorization {
    let (metadata, labels) = (Metadata::default_named("x"), Labels::default_named("x"));
    Authorization { metadata, labels, networks: networks.into(), authentication }
}

fn networks() -> impl Strategy<Value = Vec<Network>> {
    let net = || prop::sample::select(&NETWORKS[..]).prop_map(|text| text.parse().unwrap());
    let network =
        (net(), prop::collection::vec(net(), 0..3)).prop_map(|(net, except)| Network { net, except });
    prop::collection::vec(network, 1..4)
}

fn authentication() -> impl Strategy<Value = Authentication> {
    let suffix = prop::sample::select(&SUFFIXES[..])
        .prop_map(|text| text.split('.').filter(|it| !it.is_empty()).map(Into::into).collect());
    let some = (
        prop::collection::vec(prop::sample::select(&IDENTITIES[..]).prop_map(Into::into), 0..3),
        prop::collection::vec(suffix, 0..3),
    );
    prop_oneof![
        Just(Authentication::Unauthenticated {}),
        Just(Authentication::MeshTls(Clients::any())),
        some.prop_map(|(identities, suffixes)| {
            Authentication::MeshTls(Clients::Identities { identities, suffixes })
        }),
    ]
}

fn authorization() -> impl Strategy<Value = Authorization> {
    (networks(), authentication()).prop_map(|(networks, who)| mk_authorization(networks, who))
}

/// Every client that there is a reason to try.
fn clients() -> Vec<Client> {
    let addresses = ADDRESSES.iter().map(|text| Some(text.parse::<IpAddr>().unwrap())).chain([None]);
    addresses
        .flat_map(|address| {
            let meshed = IDENTITIES.iter().map(move |identity| Client::meshed(*identity, address));
            let nameless = Client { address, tls: true, identity: None };
            meshed.chain([Client::unmeshed(address), nameless])
        })
        .collect()
}

fn lets_in(row: &Authorization, client: &Client) -> bool {
    let authorizations: Arc<[Authorization]> = [row.clone()].into();
    let server = Server {
        labels: Labels::default_named("x"),
        protocol: Protocol::Opaque {},
        authorizations,
        server_ips: 0,
    };
    client.decide(&server).decision == crate::policy::Decision::Allow
}

proptest! {
    #[test]
    fn who_passes_the_narrow_one_passes_the_one_that_covers_it(wide in authorization(), narrow in authorization()) {
        if covers(&wide, &narrow) {
            for client in clients() {
                prop_assert!(!lets_in(&narrow, &client) || lets_in(&wide, &client), "{client:?}");
            }
        }
    }

    #[test]
    fn every_authorization_covers_itself(row in authorization()) {
        prop_assert!(covers(&row, &row));
    }
}

#[test]
fn exceptions_suffixes_and_missing_identities_are_minded() {
    let network = |net: &str, except: &[&str]| Network {
        net: net.parse().unwrap(),
        except: except.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let of = |network: Network| mk_authorization(vec![network], Authentication::Unauthenticated {});
    let wide = of(network("10.0.0.0/8", &["10.1.0.0/16"]));
    assert!(covers(&wide, &of(network("10.2.0.0/16", &[]))));
    assert!(!covers(&wide, &of(network("10.0.0.0/8", &[]))));
    assert!(!covers(&wide, &of(network("10.1.2.0/24", &[]))));
    assert!(covers(&wide, &of(network("10.0.0.0/8", &["10.0.0.0/15"]))));
    let who = |identities: &[&str], suffixes: &[&[&str]]| {
        let suffix = |labels: &&[&str]| labels.iter().map(|label| (*label).into()).collect();
        let clients = Clients::Identities {
            identities: identities.iter().map(|it| (*it).into()).collect(),
            suffixes: suffixes.iter().map(suffix).collect(),
        };
        mk_authorization(vec![network("0.0.0.0/0", &[])], Authentication::MeshTls(clients))
    };
    let everyone = who(&[], &[&[]]);
    assert!(covers(&everyone, &who(&["a.x.test"], &[&["x", "test"]])));
    assert!(!covers(&everyone, &who(&["spiffe://root/x"], &[])));
    assert!(!covers(&who(&[], &[&["x", "test"]]), &everyone));
}

#[test]
fn an_exception_of_the_other_family_takes_nothing_away() {
    let whole = |net: &str| Network::whole(net.parse().unwrap());
    let vain = Network { except: vec!["::/0".parse().unwrap()], ..whole("0.0.0.0/0") };
    let wide = mk_authorization(vec![whole("::/0"), vain.clone()], Authentication::Unauthenticated {});
    let narrow =
        mk_authorization(vec![whole("::/0"), whole("0.0.0.0/0")], Authentication::Unauthenticated {});
    assert!(covers(&wide, &narrow));
    for client in clients() {
        assert!(lets_in(&narrow, &client) && lets_in(&wide, &client), "{client:?}");
    }
    let half = Network { except: vec!["10.0.0.0/8".parse().unwrap()], ..vain };
    let narrow = mk_authorization(vec![whole("::/0"), half], Authentication::Unauthenticated {});
    assert!(!lets_in(&narrow, &Client::unmeshed(None)));
}
