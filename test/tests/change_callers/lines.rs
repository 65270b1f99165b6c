//! The audit log of the API: lines of this process, as JSON.

use parking_lot::Mutex;
use serde_json::Value;
use std::{io, sync::OnceLock};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Sink;

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on lines are kept. A second call changes nothing.
pub(crate) fn keep() {
    static KEPT: OnceLock<()> = OnceLock::new();
    KEPT.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt().json().with_env_filter("linkerd_mcp::audit=info");
        tracing_subscriber::util::SubscriberInitExt::init(subscriber.with_writer(|| Sink).finish());
    });
}

/// The fields of every line about a trace, in the order in which they were written.
pub(crate) fn of(trace: &str) -> Vec<Value> {
    let text = String::from_utf8(LINES.lock().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].clone());
    lines.filter(|fields| fields["trace_id"] == trace).collect()
}
