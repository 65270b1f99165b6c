//! Waiting for a condition, never for an amount of time.

use std::time::Duration;

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {limit:?} in vain until {what}")]
pub struct Timeout {
    what: String,
    limit: Duration,
}

/// How often a condition is looked at: often enough that nobody notices, seldom enough for two cores.
pub const EVERY: Duration = Duration::from_millis(25);

/// Asks `probe` again and again until it answers, at most for `limit`.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Timeout> {
    let asking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::time::timeout(limit, asking).await.map_err(|_| Timeout { what: what.to_string(), limit })
}
