//! The same question, which pods are in a namespace, to our MCP endpoint and to the Kubernetes MCP server of npm, over
//! HTTP, on one real kube-apiserver. Both have to ask it for every call; the floor is to ask it and do nothing else.
//!
//! `test/mcp/run peers` installs the other server and runs this; without its name nothing here runs.

use crate::{
    load::{self, Round},
    measure::{Table, quantile, size, time},
    mesh::SMALL,
    rpc::{Served, client_runtime, serve_with, server_runtime, server_time, snapshot_of},
};
use kube::Client;
use linkerd_mcp_api::mcp::{Options, budget::Limits};
use linkerd_mcp_test::{
    process::{self, Launch, Process},
    rig::{self, Kubernetes},
};
use serde_json::json;
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Names the binary of `kubernetes-mcp-server`.
const PEER: &str = "LINKERD_MCP_PEER";
const NAMESPACE: &str = "emojivoto";
const ROUNDS: usize = 5;
/// A round takes about this long.
const LONG: f64 = 1.0;
/// The other server is written in Go, which takes all cores there are.
const THREADS: usize = 2;

/// One who is asked.
struct Contestant {
    name: &'static str,
    address: SocketAddr,
    request: Arc<[u8]>,
    busy: Box<dyn Fn() -> Duration>,
}

pub(crate) fn peers(table: &mut Table) {
    let Ok(binary) = std::env::var(PEER) else {
        panic!("{PEER} does not name the other server: `test/mcp/run peers` installs it and sets this");
    };
    let client = client_runtime();
    let cluster = client.block_on(async {
        let cluster = rig::kubernetes().await.unwrap();
        cluster.apply_recorded_mesh().await.unwrap();
        cluster
    });
    let (ours, direct) = ours(&cluster);
    let shipped = client.block_on(peer(&binary, &cluster, &[]));
    let free =
        client.block_on(peer(&binary, &cluster, &["KUBE_CLIENT_QPS=100000", "KUBE_CLIENT_BURST=100000"]));
    let request = |revision, tool| load::request(revision, tool, &json!({"namespace": NAMESPACE}));
    let of_peer = |name, process: &Process| {
        let (address, id) = (SocketAddr::from(([127, 0, 0, 1], process.port(0))), process.id());
        let request = request("2025-06-18", "pods_list_in_namespace");
        Contestant { name, address, request, busy: Box::new(move || process_time(id)) }
    };
    let ours = Contestant {
        name: "linkerd-mcp",
        address: ours.address,
        request: request("2026-07-28", "get_pods"),
        busy: Box::new(server_time),
    };
    let theirs = of_peer("kubernetes-mcp-server", &free);
    for it in [&ours, &theirs] {
        let answer = client.block_on(load::once(it.address, &it.request));
        assert!(answer.contains("voting-") && !answer.contains("\"isError\":true"), "{}: {answer}", it.name);
        table.plain(&format!("size of the answer of {}", it.name), &size(answer.len()), "", "six pods");
    }
    for connections in [1, 64] {
        let measure = |it: &Contestant| client.block_on(it.round(connections));
        let rounds: Vec<[Round; 3]> = (0..=ROUNDS)
            .map(|_| [measure(&ours), measure(&theirs), direct.round(connections)])
            .skip(1)
            .collect();
        let ratio = |of: fn(&Round) -> f64, a: usize, b: usize| {
            quantile(&mut rounds.iter().map(|it| of(&it[a]) / of(&it[b])).collect::<Vec<_>>(), 0.5)
        };
        for (at, name) in [ours.name, theirs.name, "the list alone, nothing made of it"].iter().enumerate() {
            let median = |of: fn(&Round) -> f64| {
                quantile(&mut rounds.iter().map(|it| of(&it[at])).collect::<Vec<_>>(), 0.5)
            };
            let p50 = time(Duration::from_secs_f64(median(|it| it.p50.as_secs_f64())));
            let busy = time(Duration::from_secs_f64(median(|it| it.busy.as_secs_f64())));
            let note = format!("{:.0}/s, CPU {busy} a call", median(|it| it.per_second));
            table.plain(&format!("p50 of {name}, {connections} connections"), &p50, "", &note);
        }
        table.plain(
            &format!("theirs by ours, {connections} connections"),
            &format!("p50 {:.2}", ratio(|it| it.p50.as_secs_f64(), 1, 0)),
            "",
            &format!(
                "CPU {:.2}; ours by theirs, calls a second: {:.2}",
                ratio(|it| it.busy.as_secs_f64(), 1, 0),
                ratio(|it| it.per_second, 0, 1)
            ),
        );
    }
    let shipped = of_peer("kubernetes-mcp-server as it comes", &shipped);
    // What its client lets through at once is used up first.
    client.block_on(load::round(shipped.address, &shipped.request, 1, 20, || Duration::ZERO));
    let it = client.block_on(load::round(shipped.address, &shipped.request, 1, 10, || Duration::ZERO));
    let note = format!("{:.1}/s: its Kubernetes client lets no more through", it.per_second);
    table.plain(&format!("p50 of {}, 1 connection", shipped.name), &time(it.p50), "", &note);
}

/// Our API, and what asks the same Kubernetes from the same threads.
fn ours(cluster: &Kubernetes) -> (Served, Direct) {
    let runtime = server_runtime(THREADS);
    let client = runtime.block_on(cluster.client()).unwrap();
    let mcp = Options {
        kubernetes: Some(client.clone()),
        // One caller asks more often than any should.
        calls_per_second: 0,
        outside: Limits { per_caller: 1_000, in_all: 1_000 },
        ..Options::default()
    };
    let served = serve_with(THREADS, snapshot_of(SMALL), mcp);
    (served, Direct { client, runtime })
}

/// The other server, with variables (`NAME=value`) in its environment.
async fn peer(binary: &str, cluster: &Kubernetes, environment: &[&str]) -> Process {
    let launch = Launch {
        program: "env",
        ports: 1,
        args: |dir: &Path, ports: &[u16]| {
            let kubeconfig = dir.join("kubeconfig");
            std::fs::write(&kubeconfig, cluster.apiserver.kubeconfig())?;
            let mut args: Vec<String> = environment.iter().map(|it| (*it).to_owned()).collect();
            args.extend([
                binary.to_owned(),
                format!("--port={}", ports[0]),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--kubeconfig={}", kubeconfig.display()),
                // As much like ours as it has flags for.
                "--stateless".to_owned(),
                "--read-only".to_owned(),
                "--disable-multi-cluster".to_owned(),
            ]);
            Ok(args)
        },
    };
    let healthy = async |process: &Process| {
        let url = format!("http://127.0.0.1:{}/healthz", process.port(0));
        reqwest::get(url).await.is_ok_and(|it| it.status().is_success())
    };
    process::start(launch, healthy).await.unwrap()
}

/// CPU time of a process with all its threads.
fn process_time(id: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().filter_map(Result::ok);
    let nanos = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

// === impl Contestant ===

impl Contestant {
    async fn round(&self, connections: usize) -> Round {
        let probe = load::round(self.address, &self.request, connections, 4, &self.busy).await;
        let calls = (probe.per_second * LONG) as usize / connections;
        load::round(self.address, &self.request, connections, calls.max(4), &self.busy).await
    }
}

/// Asks Kubernetes and reads the bytes that come.
struct Direct {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Direct {
    fn round(&self, connections: usize) -> Round {
        let calls = ((self.calls(connections, 4).per_second * LONG) as usize / connections).max(4);
        self.calls(connections, calls)
    }

    fn calls(&self, connections: usize, calls: usize) -> Round {
        let (before, began) = (server_time(), Instant::now());
        let mut each: Vec<Duration> = self.runtime.block_on(async {
            let tasks: Vec<_> = (0..connections)
                .map(|_| {
                    let client = self.client.clone();
                    tokio::spawn(async move {
                        let mut each = Vec::with_capacity(calls);
                        for _ in 0..calls {
                            let began = Instant::now();
                            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?limit=1000");
                            let request = http::Request::get(path).body(Vec::new()).unwrap();
                            let answer = client.request_text(request).await.unwrap();
                            assert!(answer.contains("voting-"), "{answer}");
                            each.push(began.elapsed());
                        }
                        each
                    })
                })
                .collect();
            let mut each = Vec::new();
            for task in tasks {
                each.extend(task.await.unwrap());
            }
            each
        });
        let took = began.elapsed();
        let busy = (server_time() - before) / u32::try_from(each.len()).unwrap();
        let per_second = each.len() as f64 / took.as_secs_f64();
        Round { busy, p50: quantile(&mut each, 0.5), per_second }
    }
}
