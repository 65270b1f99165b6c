//! Why a pod of ours is not ready, in its own words: `/ready` of its admin port, through a forwarded port, which no
//! policy stands before.

use super::seen::PodSeen;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Containers of ours and their admin ports, which the chart does not let anybody choose.
const ADMIN: [(&str, u16); 2] = [("mcp-api", 9995), ("mcp-controller", 9996)];
const REQUEST: &[u8] = b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n";
/// An answer is some hundred bytes.
const MOST_BYTES: u64 = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Its reason; none when it gives none, or cannot be asked.
pub(super) async fn reason(pods: &Api<Pod>, pod: &PodSeen) -> Option<String> {
    let port = admin_port(pod)?;
    let (_, name) = pod.name.split_once('/')?;
    let asked = async {
        let mut forwarder = pods.portforward(name, &[port]).await.ok()?;
        ask(forwarder.take_stream(port)?).await.ok().flatten()
    };
    timeout(TIMEOUT, asked).await.ok().flatten()
}

/// That of a container which runs and is not ready. One that waits to be started answers nothing.
fn admin_port(pod: &PodSeen) -> Option<u16> {
    let unready =
        |name: &str| pod.phase == "Running" && pod.unready.iter().any(|container| container == name);
    ADMIN.iter().find(|(name, _)| unready(name)).map(|(_, port)| *port)
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Option<String>> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    Ok(read(&String::from_utf8_lossy(&answer)))
}

/// The reason in an answer: both components put it under the same name.
fn read(answer: &str) -> Option<String> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body.get("reason")?.as_str().filter(|reason| !reason.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_pod(phase: &str, unready: &[&str]) -> PodSeen {
        let unready = unready.iter().map(|it| (*it).to_owned()).collect();
        PodSeen {
            name: "linkerd-mcp/a".to_owned(),
            phase: phase.to_owned(),
            unready,
            proxy: None,
            says: None,
        }
    }

    #[test]
    fn only_a_running_container_of_ours_that_is_not_ready_is_asked() {
        assert_eq!(admin_port(&mk_pod("Running", &["linkerd-proxy", "mcp-api"])), Some(9995));
        assert_eq!(admin_port(&mk_pod("Running", &["mcp-controller"])), Some(9996));
        for (phase, unready) in
            [("Pending", "mcp-api"), ("Running", "mcp-api (CrashLoopBackOff)"), ("Running", "mcp-redis")]
        {
            assert_eq!(admin_port(&mk_pod(phase, &[unready])), None);
        }
    }

    #[tokio::test]
    async fn the_reason_is_read_from_the_answer() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let pod = async move {
            let mut asked = vec![0; REQUEST.len()];
            theirs.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, REQUEST);
            let answer = b"HTTP/1.0 503 Service Unavailable\r\ncontent-type: application/json\r\n\r\n\
                {\"status\": \"waiting\", \"reason\": \"no snapshot\"}";
            theirs.write_all(answer).await.unwrap();
        };
        let (reason, ()) = tokio::join!(ask(ours), pod);
        assert_eq!(reason.unwrap().as_deref(), Some("no snapshot"));
        assert_eq!(read("HTTP/1.0 200 OK\r\n\r\n{\"ready\":true,\"reason\":\"\"}"), None);
        assert_eq!(read("SSH-2.0-OpenSSH"), None);
    }
}
