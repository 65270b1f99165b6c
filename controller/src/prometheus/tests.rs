//! The client against servers that answer as Prometheuses do, well and badly.

use super::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Answers every request with `respond(path and body)`, as a status line and headers with a body.
async fn server(respond: impl Fn(&str) -> (String, Vec<u8>) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let respond = std::sync::Arc::new(respond);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let respond = respond.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                loop {
                    let read = stream.read(&mut chunk).await.unwrap_or(0);
                    request.extend_from_slice(&chunk[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let complete = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                        let length = head.lines().find_map(|line| {
                            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                        });
                        body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
                    });
                    if complete || read == 0 {
                        break;
                    }
                }
                let (head, body) = respond(&String::from_utf8_lossy(&request));
                let _gone = stream
                    .write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes())
                    .await;
                let _gone = stream.write_all(&body).await;
            });
        }
    });
    format!("http://{address}")
}

const EMPTY: &[u8] = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
const OK: &str = "200 OK\r\ncontent-type: application/json";

fn within(endpoint: Endpoint) -> Options {
    Options { endpoint, ..Options::new(String::new()) }
}

async fn poll(options: Options) -> Poll {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    Prometheus::new(options, Metrics::default()).unwrap().poll(7_000).await
}

async fn reason(options: Options) -> String {
    match poll(options).await {
        Poll::Failed { reason } => reason,
        Poll::Answered { status, .. } => panic!("answered: {status:?}"),
    }
}

#[tokio::test]
async fn a_prometheus_without_proxies_is_answered_and_said_to_have_none() {
    let url = server(|_| (OK.to_owned(), EMPTY.to_vec())).await;
    let Poll::Answered { traffic, status } = poll(Options::new(url)).await else { panic!("failed") };
    assert!(traffic.is_empty() && status.stale);
    assert!(status.reason.contains("no series of any linkerd-proxy"), "{}", status.reason);
    assert_eq!(status.as_of_ms, Some(7_000));
}

#[tokio::test]
async fn series_of_proxies_without_the_labels_of_their_pods_are_not_called_none() {
    let row = br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"branch":""},"value":[1,"1"]}]}}"#;
    let url = server(|_| (OK.to_owned(), row.to_vec())).await;
    let Poll::Answered { traffic, status } = poll(Options::new(url)).await else { panic!("failed") };
    assert!(traffic.is_empty() && status.stale);
    assert!(status.reason.contains("lack the labels namespace and pod"), "{}", status.reason);
}

#[tokio::test]
async fn a_login_page_a_refusal_and_a_closed_port_each_say_what_to_do() {
    let html =
        server(|_| ("200 OK\r\ncontent-type: text/html".to_owned(), b"<html>Sign in</html>".to_vec())).await;
    assert!(reason(Options::new(html)).await.contains("it starts with `<html>Sign in</html>`"));
    let forbidden = server(|_| ("403 Forbidden".to_owned(), Vec::new())).await;
    assert!(
        reason(Options::new(forbidden)).await.contains("AuthorizationPolicy for its Server prometheus-admin")
    );
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(reason(Options::new(closed)).await.contains("cannot be reached"));
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let url = server(|_| (OK.to_owned(), vec![b' '; 1 << 20])).await;
    let limited = within(Endpoint { max_bytes: 1000, ..Endpoint::new(url) });
    assert!(reason(limited).await.contains("more than 1000 bytes"));
}

/// One series of the value in every answer, whatever is asked.
fn series(value: &str) -> Vec<u8> {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"namespace":"shop","pod":"a"}},"value":[1,"{value}"]}}]}}}}"#)
        .into_bytes()
}

#[tokio::test]
async fn values_that_no_rate_can_have_are_no_numbers_and_numbers_stay_as_they_are() {
    for value in ["NaN", "+Inf", "-1"] {
        let url = server(move |_| (OK.to_owned(), series(value))).await;
        let said = reason(Options::new(url)).await;
        assert!(said.contains("none is a number that can be"), "{value}: {said}");
    }
    let url = server(|_| (OK.to_owned(), series("1"))).await;
    assert!(matches!(poll(Options::new(url)).await, Poll::Answered { .. }));
}

#[tokio::test]
async fn answers_that_are_small_alone_and_large_together_are_cut_at_the_limit() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let url = server(|_| (OK.to_owned(), vec![b' '; 600])).await;
    let connection = Connection::new(Endpoint { max_bytes: 1000, ..Endpoint::new(&url) }).unwrap();
    let fetch = || connection.get("query");
    let first = fetch().await.unwrap();
    assert!(matches!(fetch().await, Err(RequestError::TooLarge { limit: 1000, .. })));
    drop(first);
    assert_eq!(fetch().await.unwrap().text.len(), 600);
}

#[tokio::test]
async fn a_poll_ends_at_the_first_query_that_it_cannot_do_without() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = asked.clone();
    let url = server(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (OK.to_owned(), b"<html>".to_vec())
    })
    .await;
    assert!(reason(Options { concurrency: 1, ..Options::new(url) }).await.contains("<html>"));
    // The time, the scrape interval in two ways, and one query; of the next, the request may be on its way.
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed) <= 5, "{asked:?}");
}

#[tokio::test]
async fn a_prometheus_that_never_answers_costs_one_timeout_per_query_and_no_more() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let endpoint = Endpoint { timeout: Duration::from_millis(50), ..Endpoint::new(url) };
    let options = Options { concurrency: 64, ..within(endpoint) };
    assert!(reason(options).await.contains("did not answer within"));
    drop(listener);
}

#[tokio::test]
async fn a_failing_latency_query_leaves_the_edges_and_is_said() {
    let url = server(|request| match request.contains("histogram_quantile") {
        true => (
            "422 Unprocessable Entity".to_owned(),
            br#"{"status":"error","errorType":"execution","error":"too many samples"}"#.to_vec(),
        ),
        false => (OK.to_owned(), EMPTY.to_vec()),
    })
    .await;
    let Poll::Answered { status, .. } = poll(Options::new(url)).await else { panic!("failed") };
    assert!(status.stale && status.reason.contains("LatencyP50 is missing"), "{}", status.reason);
    assert!(status.reason.contains("too many samples"));
}

#[tokio::test]
async fn credentials_and_the_operators_matchers_are_sent() {
    let url = server(|request| {
        let authorized = request.to_ascii_lowercase().contains("authorization: bearer sesame");
        let matched = !request.contains("POST") || request.contains("cluster%3D%22west%22");
        match authorized && matched {
            true => (OK.to_owned(), EMPTY.to_vec()),
            false => ("401 Unauthorized".to_owned(), Vec::new()),
        }
    })
    .await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "sesame\n").unwrap();
    let right = within(Endpoint {
        token_file: Some(token.path().to_owned()),
        matchers: vec!["cluster=\"west\"".parse().unwrap()],
        ..Endpoint::new(&url)
    });
    assert!(matches!(poll(right).await, Poll::Answered { .. }));
    assert!(reason(Options::new(url)).await.contains("refuses us with 401"));
}

#[tokio::test]
async fn all_queries_of_a_poll_are_evaluated_at_one_instant_of_prometheus_own_clock() {
    let clock =
        br#"{"status":"success","data":{"resultType":"scalar","result":[1700000000.5,"1700000000.5"]}}"#;
    let url = server(|request| {
        let asked = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        match asked {
            "query=time%28%29" => (OK.to_owned(), clock.to_vec()),
            // The scrape interval is no rate: neither the configuration nor how many samples there are.
            "" => ("404 Not Found".to_owned(), Vec::new()),
            _ if asked.contains("count_over_time") || asked.contains("&time=1700000000.500") => {
                (OK.to_owned(), EMPTY.to_vec())
            }
            _ => ("400 Bad Request".to_owned(), asked.as_bytes().to_vec()),
        }
    })
    .await;
    let outcome = poll(Options::new(url)).await;
    assert!(matches!(outcome, Poll::Answered { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_user_and_the_password_in_the_file_are_sent_as_basic_authentication() {
    // base64 of `mesh:sesame`.
    let url = server(|request| {
        match request.to_ascii_lowercase().contains("authorization: basic bwvzadpzzxnhbwu=") {
            true => (OK.to_owned(), EMPTY.to_vec()),
            false => ("401 Unauthorized".to_owned(), Vec::new()),
        }
    })
    .await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "sesame\n").unwrap();
    let file = Some(password.path().to_owned());
    let right =
        within(Endpoint { user: Some("mesh".to_owned()), password_file: file, ..Endpoint::new(&url) });
    assert!(matches!(poll(right.clone()).await, Poll::Answered { .. }));
    std::fs::write(password.path(), "rotated").unwrap();
    assert!(reason(right).await.contains("refuses us with 401"), "the file is read at every poll");
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_at_once() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let refused = |options: Options| Prometheus::new(options, Metrics::default()).unwrap_err().to_string();
    assert!(refused(Options::new("prometheus:9090")).contains("the URL"));
    assert!(
        refused(within(Endpoint { ca_file: Some("/nonexistent".into()), ..Endpoint::new("http://x") }))
            .contains("/nonexistent")
    );
}
