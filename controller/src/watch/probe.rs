//! The HTTP probes of a container, read as Linkerd's policy controller reads them.

use super::object::Port;
use crate::graph::{fact::Probe, id::Text};
use serde::Deserialize;

/// A liveness, readiness or startup probe.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    http_get: Option<HttpGet>,
}

#[derive(Deserialize)]
struct HttpGet {
    port: PortRef,
    path: Option<Text>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PortRef {
    Number(i64),
    Name(Text),
}

/// What a container that declares `ports` is probed for over HTTP (HTTPS included). Other probes, a port that does
/// not exist and a path that is no path give nothing.
pub(super) fn http(action: &Action, ports: &[Port]) -> Option<Probe> {
    let get = action.http_get.as_ref()?;
    Some(Probe { port: get.port.number(ports)?, path: get.path()? })
}

// === impl HttpGet ===

impl HttpGet {
    /// The path without its query. What does not begin with a slash is read as a host name, so its path is empty, or
    /// it is nothing at all.
    fn path(&self) -> Option<Text> {
        let uri: http::Uri = self.path.as_deref().unwrap_or("/").parse().ok()?;
        Some(uri.path().into())
    }
}

// === impl PortRef ===

impl PortRef {
    /// A number needs no declaration; a name is one of the container's own TCP ports, whatever its letter case.
    fn number(&self, ports: &[Port]) -> Option<u16> {
        match self {
            Self::Number(number) => u16::try_from(*number).ok().filter(|number| *number != 0),
            Self::Name(name) => {
                let named =
                    |port: &&Port| port.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
                let tcp = |port: &&Port| {
                    port.protocol.as_ref().is_none_or(|protocol| protocol.eq_ignore_ascii_case("TCP"))
                };
                ports.iter().filter(|port| port.port != 0).filter(tcp).find(named).map(|port| port.port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(action: &Value, ports: &Value) -> Option<(u16, String)> {
        let action: Action = serde_json::from_value(action.clone()).expect("a probe");
        let ports: Vec<Port> = serde_json::from_value(ports.clone()).expect("ports");
        http(&action, &ports).map(|probe| (probe.port, probe.path.to_string()))
    }

    #[test]
    fn only_http_probes_count_and_a_missing_path_is_the_root() {
        for (action, probe) in [
            (json!({"tcpSocket": {"port": 1}}), None),
            (
                json!({"httpGet": {"port": 8443, "scheme": "HTTPS"}, "periodSeconds": 3}),
                Some((8443, "/".to_owned())),
            ),
            (json!({"grpc": {"port": 2}}), None),
            (json!({"exec": {"command": ["true"]}}), None),
        ] {
            assert_eq!(read(&action, &json!([])), probe, "{action}");
        }
    }

    #[test]
    fn a_named_port_is_looked_up_without_letter_case_among_tcp_ports() {
        let action = json!({"httpGet": {"port": "Web", "path": "/live"}});
        let ports = json!([
            {"containerPort": 53, "name": "web", "protocol": "UDP"},
            {"containerPort": 8080, "name": "web"}
        ]);
        assert_eq!(read(&action, &ports), Some((8080, "/live".to_owned())));
        assert_eq!(read(&action, &json!([{"containerPort": 8080, "name": "http"}])), None);
    }

    #[test]
    fn the_query_is_cut_and_a_path_without_a_slash_is_empty_or_no_probe() {
        for (path, probed) in [
            ("/live?full=1", Some("/live")),
            ("live", Some("")),
            ("live/x", None),
            ("", None),
            ("/a b", None),
            ("http://example/x", Some("/x")),
        ] {
            let action = json!({"httpGet": {"port": 80, "path": path}});
            assert_eq!(read(&action, &json!([])), probed.map(|path| (80, path.to_owned())), "{path:?}");
        }
    }

    #[test]
    fn a_port_that_no_socket_can_have_makes_no_probe() {
        for port in [json!(0), json!(65_536), json!(-1)] {
            assert_eq!(read(&json!({"httpGet": {"port": port}}), &json!([])), None);
        }
    }
}
