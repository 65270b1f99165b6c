use super::*;
use crate::caller::{Principal, Proof};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const GRAPH: Need = Need { verb: "get", resource: "graphs", reach: Reach::Namespaces };

fn who(name: &str) -> Principal {
    Principal::service_account("shop", name, name, Proof::Token)
}

fn namespaces(names: &[&str]) -> BTreeSet<Text> {
    names.iter().map(|name| Text::from(*name)).collect()
}

/// Grants what is listed as `verb resource namespace`, with `*` for all namespaces, and counts how often it is asked.
fn granting(granted: &'static [&'static str]) -> (Rights, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let rights = Rights::decided_by(move |_, deed| {
        count.fetch_add(1, Ordering::Relaxed);
        let asked = format!("{} {} {}", deed.verb, deed.resource, deed.namespace.as_deref().unwrap_or("*"));
        let everywhere = format!("{} {} *", deed.verb, deed.resource);
        let allowed = granted.contains(&asked.as_str()) || granted.contains(&everywhere.as_str());
        Box::pin(std::future::ready(if allowed { Verdict::Allowed } else { Verdict::Denied }))
    });
    (rights, asked)
}

#[tokio::test(start_paused = true)]
async fn a_right_everywhere_is_one_review_and_one_in_namespaces_is_one_for_each() {
    let (rights, asked) = granting(&["get graphs *"]);
    let scope = rights.scope(&who("a"), GRAPH, || panic!("not needed")).await;
    assert_eq!((scope, asked.load(Ordering::Relaxed)), (Ok(Scope::All), 1));
    let (rights, asked) = granting(&["get graphs shop", "get graphs data"]);
    let all = || namespaces(&["data", "edge", "shop"]);
    let scope = rights.scope(&who("a"), GRAPH, all).await;
    assert_eq!(scope, Ok(Scope::Only(Arc::new(namespaces(&["data", "shop"])))));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    rights.scope(&who("a"), GRAPH, all).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 4, "remembered");
    let cluster = Need { reach: Reach::Cluster, ..GRAPH };
    assert_eq!(rights.scope(&who("a"), cluster, all).await, Err(Barred::OnlyInNamespaces));
    assert_eq!(granting(&[]).0.scope(&who("a"), GRAPH, all).await, Err(Barred::Denied));
}

#[tokio::test(start_paused = true)]
async fn what_one_caller_was_granted_is_not_anothers() {
    let rights = Rights::decided_by(|who, _| {
        let allowed = &*who.user == "system:serviceaccount:shop:a";
        Box::pin(std::future::ready(if allowed { Verdict::Allowed } else { Verdict::Denied }))
    });
    let deed = GRAPH.deed(None);
    assert_eq!(rights.decide(&who("a"), &deed).await, Verdict::Allowed);
    assert_eq!(rights.decide(&who("b"), &deed).await, Verdict::Denied);
    let without_groups = Principal { groups: [].into(), ..who("a") };
    assert_ne!(Key::of(&who("a")), Key::of(&without_groups));
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_is_gone_after_ten_seconds_and_one_that_is_given_is_there_after_five() {
    let granted = Arc::new(Mutex::new(true));
    let now = granted.clone();
    let rights = Rights::decided_by(move |_, _| {
        let verdict = if *now.lock() { Verdict::Allowed } else { Verdict::Denied };
        Box::pin(std::future::ready(verdict))
    });
    let may = async || rights.scope(&who("a"), GRAPH, || namespaces(&["shop"])).await.is_ok();
    assert!(may().await);
    *granted.lock() = false;
    tokio::time::advance(ALLOWED - Duration::from_millis(1)).await;
    assert!(may().await);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!may().await);
    *granted.lock() = true;
    tokio::time::advance(DENIED - Duration::from_millis(1)).await;
    assert!(!may().await);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(may().await);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_decided_about_is_refused_and_never_let_through() {
    let silent = Rights::decided_by(|_, _| Box::pin(std::future::pending()));
    let began = Instant::now();
    let verdict = silent.decide(&who("a"), &GRAPH.deed(None)).await;
    assert_eq!(verdict, Verdict::Undecided("no answer within 3 s".to_owned()));
    assert_eq!(began.elapsed(), PATIENCE);
    // One namespace that cannot be decided about is not left out in silence.
    let partly = Rights::decided_by(|_, deed| {
        let verdict = match deed.namespace.as_deref() {
            Some("edge") => Verdict::Undecided("broken".to_owned()),
            Some(_) => Verdict::Allowed,
            None => Verdict::Denied,
        };
        Box::pin(std::future::ready(verdict))
    });
    let scope = partly.scope(&who("a"), GRAPH, || namespaces(&["edge", "shop"])).await;
    assert_eq!(scope, Err(Barred::Undecided("broken".to_owned())));
}

#[tokio::test]
async fn the_machine_is_trusted_with_its_own_user_only() {
    let rights = Rights::machine();
    assert_eq!(rights.scope(&Principal::machine(), GRAPH, BTreeSet::new).await, Ok(Scope::All));
    assert_eq!(rights.scope(&who("a"), GRAPH, BTreeSet::new).await, Err(Barred::Denied));
    assert_eq!(rights.decide(&who("a"), &GRAPH.deed(None)).await, Verdict::Denied);
}

#[tokio::test(start_paused = true)]
async fn reviews_under_way_are_bounded_whoever_asks() {
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (under_way.clone(), most.clone());
    let rights = Rights::decided_by(move |_, _| {
        let (now, peak) = (now.clone(), peak.clone());
        Box::pin(async move {
            peak.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            Verdict::Denied
        })
    });
    let names: Vec<String> = (0..100).map(|at| format!("n{at:03}")).collect();
    let all: BTreeSet<Text> = names.iter().map(|name| Text::from(name.as_str())).collect();
    rights.scope(&who("a"), GRAPH, || all.clone()).await.unwrap_err();
    assert_eq!(most.load(Ordering::Relaxed), AT_ONCE_OF_ONE);
    let callers: Vec<Principal> = (0..50).map(|at| who(&format!("b{at}"))).collect();
    let ask = |who| rights.scope(who, GRAPH, || all.clone());
    futures::future::join_all(callers.iter().map(ask)).await;
    assert_eq!(most.load(Ordering::Relaxed), AT_ONCE);
}
