//! Servers on the proxy's admin port that do not let Prometheus scrape it.

use super::{
    Code, Finding,
    scene::{Scene, Seen, Take},
    words,
};
use crate::{
    id::WorkloadId,
    policy::{
        Request,
        ask::{Appearance, Caller},
    },
};
use std::collections::BTreeSet;

/// The port at which proxies tell their metrics.
const ADMIN: u16 = 4191;

/// The Prometheus that scrapes the proxies, as they see it.
struct Scraper {
    name: String,
    appearances: Vec<Appearance>,
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let scraper = scraper(scene);
    let servers = scene.servers.iter().enumerate();
    servers.filter_map(|(place, server)| locked(scene, scraper.as_ref(), place, server)).collect()
}

/// That of linkerd-viz, where it is installed.
fn scraper(scene: &Scene<'_>) -> Option<Scraper> {
    let graph = scene.mesh.graph;
    let viz = graph.namespaces.iter().find(|(_, namespace)| namespace.extension.as_deref() == Some("viz"));
    let namespace = viz.map_or("linkerd-viz", |(name, _)| name);
    let id = WorkloadId::new(namespace, "deployment", "prometheus");
    graph.workloads.get(&id)?;
    let name = id.to_string();
    Some(Scraper { name, appearances: Caller::Workload(id).appearances(&scene.mesh, Some(ADMIN)) })
}

fn locked(scene: &Scene<'_>, scraper: Option<&Scraper>, place: usize, server: &Seen<'_>) -> Option<Finding> {
    let on_admin = server.won(place).filter(|take| is_admin(scene, take));
    let lost: BTreeSet<String> = on_admin
        .filter(|take| !lets_in(scene, scraper, server, take))
        .map(|take| format!("{}:{}", scene.pods[take.pods].id, take.port))
        .collect();
    if lost.is_empty() {
        return None;
    }
    let who = match scraper {
        Some(scraper) => format!("does not let in {}", scraper.name),
        None => "lets in nobody, so no Prometheus either".to_owned(),
    };
    let text = format!(
        "{} selects the admin port of the proxies of {} and {who}: their metrics are not scraped, and what is computed from them is missing.",
        server.id,
        words::some(&lost)
    );
    let fix = "Add an AuthorizationPolicy on that Server for the ServiceAccount of Prometheus, or name the application's ports in the Server instead of all.";
    let objects = [server.id.to_string()].into_iter().chain(lost);
    Some(Finding::new(Code::ScrapeLockedOut, objects, text, fix))
}

fn is_admin(scene: &Scene<'_>, take: &Take) -> bool {
    let pods = &scene.pods[take.pods];
    let named = |port: &crate::fact::ContainerPort| port.port == take.port && &*port.name == "linkerd-admin";
    let declared = pods.template.ports.iter().any(named);
    (declared || (take.port == ADMIN && !pods.template.external)) && pods.is_enforced(take.port)
}

/// Without a known Prometheus any authorization may be meant for one.
fn lets_in(scene: &Scene<'_>, scraper: Option<&Scraper>, server: &Seen<'_>, take: &Take) -> bool {
    let Some(scraper) = scraper else {
        let on_routes = server.policy.attached().any(|(_, rows)| !rows.is_empty());
        return !server.policy.authorizations.is_empty() || on_routes;
    };
    let request = Request::new("GET", "/metrics");
    let pods = &scene.pods[take.pods];
    scraper
        .appearances
        .iter()
        .all(|one| scene.check(pods, take.port, one.identity.as_ref(), &one.addresses, &request).is_let_in())
}
