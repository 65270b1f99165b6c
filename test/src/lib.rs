//! Real components for the tests: an API server with etcd, Redis, Prometheus and the metrics of real proxies.
//!
//! Start at [`rig`]: one function per set of components a test may need. Each component is a value that stops its
//! process when it is dropped, also when the test panicked; if the test process itself is killed, the guard in
//! [`process`] stops the rest. A program that is not installed fails the test with a sentence that says how to get it.
//!
//! ```text
//! rig ── kubernetes: apiserver ─ etcd, crds, mesh (objects)
//!    ├── redis
//!    ├── linkerd (stand-ins for its controllers)
//!    └── traffic: prometheus ─ exporter ─ fixtures (recorded proxies)
//! ```

pub mod apiserver;
pub mod audit;
pub mod background;
pub mod binary;
pub mod certs;
pub mod crds;
pub mod etcd;
pub mod exporter;
pub mod exposition;
pub mod fixtures;
pub mod golden;
pub mod http_proxy;
pub mod linkerd;
pub mod linkerd_cli;
pub mod manifests;
pub mod mesh;
pub mod oracle;
pub mod ours;
pub mod pod;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod rig;
pub mod rights;
pub mod wait;
pub mod web;
