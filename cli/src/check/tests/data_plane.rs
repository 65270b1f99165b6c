//! The proxies of the mesh, broken.

use super::*;

pub(super) const BREAKS: &[Break] = &[
    (
        "mcp-data-plane-ns-exists",
        "there is no such Namespace",
        |it| it.data_plane_namespace = Ok(("shop".to_owned(), false)),
        E,
        "there is no Namespace shop",
    ),
    (
        "mcp-data-plane-proxy-healthy",
        "a proxy there is not ready",
        |it| it.data_plane.as_mut().unwrap()[0].proxy.as_mut().unwrap().ready = false,
        E,
        "proxies that are not ready: shop/cart-1",
    ),
    (
        "mcp-data-plane-proxy-healthy",
        "no pod there has a proxy",
        |it| it.data_plane.as_mut().unwrap().clear(),
        W,
        "there are no pods with a linkerd-proxy",
    ),
    (
        "mcp-data-plane-cp-version",
        "a proxy there is older than the control plane",
        |it| it.data_plane.as_mut().unwrap()[0].proxy.as_mut().unwrap().version = Some("old".to_owned()),
        W,
        "Linkerd is edge-26.8.3, and these proxies are not: shop/cart-1 (old)",
    ),
    (
        "mcp-data-plane-prom",
        "Prometheus does not scrape a pod there",
        |it| {
            (metrics(it).unscraped, metrics(it).unscraped_count) =
                (vec!["a/b-1".into(), "shop/cart-1".into()], 2)
        },
        W,
        "Prometheus has no series of shop/cart-1",
    ),
    (
        "mcp-data-plane-prom",
        "Prometheus does not scrape some pods, and does not say which",
        |it| (metrics(it).unscraped, metrics(it).unscraped_count) = (vec!["a/b-1".into()], 21),
        W,
        "Prometheus has no series of 21 pods; whether some are in shop is not known",
    ),
];
