//! HTTP manners: caching, hosts, methods.

use crate::{
    fixture,
    rig::{Rig, config, within},
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

#[tokio::test]
async fn an_unchanged_graph_is_not_sent_again() {
    let rig = Rig::ready(config()).await;
    let first = rig.get("/v1/graph").await;
    let tag = first.etag.unwrap();
    assert!(tag.starts_with("\"7-1-"), "{tag}");
    let again = rig.get_with(rig.address, "/v1/graph", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.text.as_str(), again.etag.as_ref()), (304, "", Some(&tag)));
    rig.send(fixture::numbers(1, 3.0)).await;
    let changed = rig.get_with(rig.address, "/v1/graph", &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.etag.unwrap(), tag);
}

#[tokio::test]
async fn a_request_under_another_name_is_refused() {
    let rig = Rig::ready(config()).await;
    for (host, status) in [("evil.example", 403), ("evil.example:8086", 403), ("localhost:1", 200)] {
        let answer = rig.get_with(rig.address, "/v1/graph", &[("host", host)]).await;
        assert_eq!(answer.status, status, "{host}: {}", answer.text);
    }
}

#[tokio::test]
async fn json_is_served_over_http_2_without_tls_too() {
    let rig = Rig::ready(config()).await;
    let client: Client<_, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let url = format!("http://{}/v1/graph?namespace=shop", rig.address).parse().unwrap();
    let response = within(client.get(url)).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, ::http::Version::HTTP_2));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["services"]["shop/cart"]["meshed"], true);
}

#[tokio::test]
async fn only_get_is_understood() {
    let rig = Rig::ready(config()).await;
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request =
        ::http::Request::post(format!("http://{}/v1/graph", rig.address)).body(Empty::new()).unwrap();
    assert_eq!(within(client.request(request)).await.unwrap().status(), 405);
}
