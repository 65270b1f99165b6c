//! The mesh everybody gets: a control plane, viz, emojivoto, a bookshop, a namespace that is not meshed, and an
//! intruder.

use super::{
    builder::NewWorkload,
    mesh::{Clients, EgressNetwork, LINKERD, Load, Mesh, Port, Route, Target, WorkloadIndex, WorkloadKind},
};
use crate::graph::model::Protocol::{Grpc, Http, Tcp};
use std::net::Ipv4Addr;

const PARTNER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const UNLISTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);

/// The built-in mesh and its Prometheus, which does not scrape yet.
pub(super) fn mesh() -> (Mesh, WorkloadIndex) {
    let mut mesh = Mesh::default();
    control_plane(&mut mesh);
    let prometheus = viz(&mut mesh);
    let emojivoto = emojivoto(&mut mesh);
    let legacy = mesh.namespace("legacy", false, None);
    let books = books(&mut mesh, legacy);
    legacy_clients(&mut mesh, legacy, &books);
    intruder(&mut mesh, &emojivoto, &books);
    (mesh, prometheus)
}

/// What others call in emojivoto.
struct Emojivoto {
    web: usize,
    voting: usize,
}

/// What others call in the bookshop.
struct Books {
    webapp: usize,
    mysql: usize,
}

fn control_plane(mesh: &mut Mesh) {
    let linkerd = mesh.namespace(LINKERD, true, None);
    mesh.namespace("kube-system", false, None);
    let destination =
        [Port::new("dest-grpc", 8086), Port::new("policy-grpc", 8090), Port::new("dest-admin", 9996)];
    let destination = mesh.deployment(linkerd, "linkerd-destination", &destination, 1);
    let identity = mesh.deployment(
        linkerd,
        "linkerd-identity",
        &[Port::new("ident-grpc", 8080), Port::new("ident-admin", 9990)],
        1,
    );
    let injector = [Port::new("injector", 8443), Port::new("injector-admin", 9995)];
    let injector = mesh.deployment(linkerd, "linkerd-proxy-injector", &injector, 1);
    mesh.service(destination, "linkerd-dst", 8086);
    mesh.service(identity, "linkerd-identity", 8080);
    mesh.service(injector, "linkerd-proxy-injector", 443);
}

fn viz(mesh: &mut Mesh) -> WorkloadIndex {
    let viz = mesh.namespace("linkerd-viz", true, Some("viz"));
    let prometheus = mesh.deployment(viz, "prometheus", &[Port::new("admin", 9090)], 1);
    let metrics_api =
        mesh.deployment(viz, "metrics-api", &[Port::new("http", 8085), Port::new("admin", 9995)], 1);
    let web = mesh.deployment(viz, "web", &[Port::new("http", 8084), Port::new("admin", 9994)], 1);
    let prometheus_service = mesh.service(prometheus, "prometheus", 9090);
    let metrics_api_service = mesh.service(metrics_api, "metrics-api", 8085);
    mesh.service(web, "web", 8084);
    mesh.call(
        metrics_api,
        Target::Service(prometheus_service),
        Http,
        Load::new(3.0, 9.0).swinging(70.0, 0.3),
    );
    mesh.call(web, Target::Service(metrics_api_service), Grpc, Load::new(1.0, 14.0).swinging(70.0, 0.3));
    prometheus
}

/// vote-bot → web → emoji, voting; the poll for doughnuts fails, as it always has.
fn emojivoto(mesh: &mut Mesh) -> Emojivoto {
    let namespace = mesh.namespace("emojivoto", true, None);
    let vote_bot = mesh.workload(&NewWorkload {
        namespace,
        name: "vote-bot",
        kind: WorkloadKind::Deployment,
        account: "default",
        ports: &[],
        pods: 1,
    });
    let web = mesh.deployment(namespace, "web", &[Port::new("http", 8080)], 1);
    let emoji = mesh.deployment(namespace, "emoji", &[Port::new("grpc", 8080), Port::new("prom", 8801)], 2);
    let voting = mesh.deployment(namespace, "voting", &[Port::new("grpc", 8080), Port::new("prom", 8801)], 1);
    let web_service = mesh.service(web, "web-svc", 80);
    let emoji_service = mesh.service(emoji, "emoji-svc", 8080);
    let voting_service = mesh.service(voting, "voting-svc", 8080);
    mesh.services[voting_service].route =
        Some(Route { name: "voting".to_owned(), grpc: true, backends: vec![(voting_service, 1)] });

    let server =
        mesh.server(web, "web-http", (8080, "HTTP/1"), vec![("web-vote-bot", by_mtls(&["default"]))]);
    mesh.servers[server].route = Some("web-pages".to_owned());
    mesh.server(emoji, "emoji-grpc", (8080, "gRPC"), vec![("emoji-web", by_mtls(&["web"]))]);
    mesh.server(voting, "voting-grpc", (8080, "gRPC"), vec![("voting-web", by_account("emojivoto", "web"))]);

    mesh.call(
        vote_bot,
        Target::Service(web_service),
        Http,
        Load::new(6.0, 18.0).failing(0.04).swinging(180.0, 0.0),
    );
    mesh.call(web, Target::Service(emoji_service), Grpc, Load::new(8.0, 3.0).swinging(180.0, 0.02));
    mesh.call(
        web,
        Target::Service(voting_service),
        Grpc,
        Load::new(3.0, 5.0).failing(0.12).swinging(180.0, 0.03),
    );
    mesh.call(web, Target::External(UNLISTED, 80), Http, Load::new(1.0, 60.0).swinging(100.0, 0.5));
    Emojivoto { web: web_service, voting: voting_service }
}

fn by_mtls(accounts: &[&str]) -> Clients {
    Clients::Identities(
        accounts.iter().map(|account| ("emojivoto".to_owned(), (*account).to_owned())).collect(),
    )
}

fn by_account(namespace: &str, account: &str) -> Clients {
    Clients::Account(namespace.to_owned(), account.to_owned())
}

/// traffic → webapp → books, authors → mysql; a canary, a ServiceProfile, a CronJob, a partner outside, and an old
/// biller that nobody has meshed.
fn books(mesh: &mut Mesh, legacy: usize) -> Books {
    let namespace = mesh.namespace("booksapp", true, None);
    let service_port = [Port::new("service", 7000)];
    let traffic = mesh.deployment(namespace, "traffic", &[], 1);
    let webapp = mesh.deployment(namespace, "webapp", &service_port, 2);
    let authors = mesh.deployment(namespace, "authors", &[Port::new("service", 7001)], 1);
    let books = mesh.deployment(namespace, "books", &[Port::new("service", 7002)], 2);
    let canary = mesh.deployment(namespace, "books-canary", &[Port::new("service", 7002)], 1);
    let mysql = mesh.workload(&NewWorkload {
        namespace,
        name: "mysql",
        kind: WorkloadKind::StatefulSet,
        account: "mysql",
        ports: &[Port::opaque("mysql", 3306)],
        pods: 1,
    });
    let export = mesh.workload(&NewWorkload {
        namespace,
        name: "catalog-export",
        kind: WorkloadKind::CronJob,
        account: "catalog-export",
        ports: &[],
        pods: 1,
    });
    let billing = mesh.deployment(legacy, "billing", &[Port::new("http", 8080)], 1);

    let webapp_service = mesh.service(webapp, "webapp", 7000);
    let authors_service = mesh.service(authors, "authors", 7001);
    let books_service = mesh.service(books, "books", 7002);
    let canary_service = mesh.service(canary, "books-canary", 7002);
    let mysql_service = mesh.service(mysql, "mysql", 3306);
    let billing_service = mesh.service(billing, "billing", 80);
    mesh.services[authors_service].profile = true;
    mesh.services[books_service].route = Some(Route {
        name: "books-canary".to_owned(),
        grpc: false,
        backends: vec![(books_service, 4), (canary_service, 1)],
    });
    mesh.egress_networks.push(EgressNetwork {
        namespace: "booksapp".to_owned(),
        name: "partner-api".to_owned(),
        cidr: "203.0.113.0/24",
        covers: PARTNER,
    });
    let from_legacy = ("webapp-legacy", Clients::Network(legacy));
    let from_traffic = ("webapp-traffic", by_account("booksapp", "traffic"));
    mesh.server(webapp, "webapp-http", (7000, "HTTP/1"), vec![from_traffic, from_legacy]);
    let of_books =
        ["books", "books-canary", "authors"].map(|account| ("booksapp".to_owned(), account.to_owned()));
    mesh.server(
        mysql,
        "mysql-tcp",
        (3306, "opaque"),
        vec![("mysql-shop", Clients::Identities(of_books.into()))],
    );

    mesh.call(traffic, Target::Service(webapp_service), Http, Load::new(10.0, 35.0).swinging(90.0, 0.25));
    mesh.call(
        webapp,
        Target::Service(books_service),
        Http,
        Load::new(12.0, 12.0).failing(0.02).swinging(90.0, 0.27),
    );
    mesh.call(webapp, Target::Service(authors_service), Http, Load::new(6.0, 10.0).swinging(90.0, 0.28));
    mesh.call(books, Target::Service(authors_service), Http, Load::new(4.0, 10.0).swinging(150.0, 0.6));
    mesh.call(books, Target::Service(mysql_service), Tcp, Load::new(2.0, 1.0).swinging(90.0, 0.3));
    mesh.call(authors, Target::Service(mysql_service), Tcp, Load::new(1.0, 1.0).swinging(90.0, 0.3));
    mesh.call(export, Target::Service(books_service), Http, Load::new(2.0, 25.0));
    mesh.call(
        books,
        Target::Service(billing_service),
        Http,
        Load::new(1.5, 80.0).failing(0.05).swinging(200.0, 0.1),
    );
    mesh.call(webapp, Target::External(PARTNER, 443), Tcp, Load::new(1.0, 1.0).swinging(120.0, 0.8));
    Books { webapp: webapp_service, mysql: mysql_service }
}

/// Not meshed: the mesh sees them only where they call in.
fn legacy_clients(mesh: &mut Mesh, legacy: usize, books: &Books) {
    let reporter = mesh.deployment(legacy, "reporter", &[], 1);
    mesh.call(reporter, Target::Service(books.webapp), Http, Load::new(1.0, 30.0).swinging(60.0, 0.0));
}

/// Meshed, and denied wherever it knocks.
fn intruder(mesh: &mut Mesh, emojivoto: &Emojivoto, books: &Books) {
    let sandbox = mesh.namespace("sandbox", true, None);
    let intruder = mesh.deployment(sandbox, "intruder", &[], 1);
    mesh.call(intruder, Target::Service(emojivoto.web), Http, Load::new(1.0, 2.0));
    mesh.call(intruder, Target::Service(emojivoto.voting), Grpc, Load::new(1.0, 2.0));
    mesh.call(intruder, Target::Service(books.mysql), Tcp, Load::new(1.0, 1.0));
}
