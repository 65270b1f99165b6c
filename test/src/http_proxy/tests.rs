use super::*;
use axum::{Router, body::Body as Answer, extract::RawQuery, routing::get};
use futures::{StreamExt as _, stream};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// Answers `/things` with its query, and a watch with two lines and silence.
async fn start() -> HttpProxy {
    let things = get(async |RawQuery(query): RawQuery| {
        let query = query.unwrap_or_default();
        if query.contains("watch") {
            let lines = ["one\n", "two\n"].map(|line| Ok::<_, io::Error>(Bytes::from(line)));
            Answer::from_stream(stream::iter(lines).chain(stream::pending()))
        } else {
            Answer::from(format!("asked {query}"))
        }
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/things", things)).await });
    HttpProxy::start(&url, None).unwrap()
}

async fn ask(proxy: &HttpProxy, query: &str) -> reqwest::Result<(u16, String)> {
    let answer = reqwest::get(format!("{}/things?{query}", proxy.url())).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The next line of a watch; none when it ended, an error when it broke.
async fn line(watch: &mut reqwest::Response) -> reqwest::Result<Option<Bytes>> {
    tokio::time::timeout(SOON, watch.chunk()).await.expect("something happens to the watch")
}

#[tokio::test]
async fn a_fault_is_for_its_requests_only_and_is_over_when_dropped() {
    let proxy = start().await;
    let fault = proxy.inject(Requests::next_pages("things"), Fault::refuse(410, "Expired", "too old"));
    assert_eq!(ask(&proxy, "limit=2").await.unwrap(), (200, "asked limit=2".to_owned()));
    let (status, said) = ask(&proxy, "limit=2&continue=x").await.unwrap();
    assert!(status == 410 && said.contains("too old"), "{said}");
    assert_eq!(fault.count(), 1);
    drop(fault);
    assert_eq!(ask(&proxy, "continue=x").await.unwrap().0, 200);
    assert_eq!(proxy.asked(&Requests::lists("things")).len(), 3);
    assert_eq!(proxy.asked(&Requests::of("other")).len(), 0);
}

#[tokio::test]
async fn a_held_request_is_answered_once_it_is_let_go() {
    let proxy = start().await;
    let hold = proxy.inject(Requests::all(), Fault::Hold);
    let mut held = Box::pin(ask(&proxy, "a=1"));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut held).await.is_err());
    assert_eq!(hold.count(), 1);
    drop(hold);
    assert_eq!(tokio::time::timeout(SOON, held).await.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn hanging_up_and_rewriting_do_what_they_say() {
    let proxy = start().await;
    let hang_up = proxy.inject(Requests::all(), Fault::HangUp);
    assert!(ask(&proxy, "a=1").await.is_err());
    drop(hang_up);
    let _rewrite = proxy.inject(Requests::all(), Fault::Rewrite(|text| text.replace("asked", "heard")));
    assert_eq!(ask(&proxy, "a=1").await.unwrap(), (200, "heard a=1".to_owned()));
}

#[tokio::test]
async fn an_open_watch_can_be_spoken_into_stalled_ended_and_cut() {
    let proxy = start().await;
    let watches = Requests::watches("things");
    let open = async || reqwest::get(format!("{}/things?watch=true", proxy.url())).await.unwrap();
    let mut watch = open().await;
    let mut heard = Vec::new();
    while heard.len() < 8 {
        heard.extend(line(&mut watch).await.unwrap().unwrap());
    }
    assert_eq!(heard, b"one\ntwo\n");
    assert_eq!(proxy.interrupt(&watches, &Interrupt::Stall), 1);
    assert_eq!(proxy.interrupt(&Requests::watches("others"), &Interrupt::Cut), 0);
    assert_eq!(proxy.interrupt(&watches, &Interrupt::Say("three\n".to_owned())), 1);
    assert_eq!(line(&mut watch).await.unwrap().unwrap(), "three\n");
    assert_eq!(proxy.interrupt(&watches, &Interrupt::End), 1);
    assert_eq!(line(&mut watch).await.unwrap(), None);

    let mut watch = open().await;
    while proxy.interrupt(&watches, &Interrupt::Cut) == 0 {
        tokio::task::yield_now().await;
    }
    let broken = async {
        while line(&mut watch).await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    assert!(broken.await.is_err(), "a cut watch does not end as a complete one does");
}
