//! What a failed request to the API server means for us, in one sentence that fits a status line.

use kube::core::Status;
use std::{error::Error, time::Duration};

/// Longest detail that is kept: what a proxy in between answers may be a whole web page.
const MAX_DETAIL: usize = 300;

const UNREACHABLE: &str = "the API server cannot be reached";

/// A failed request, sorted by what has to be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// 410: the resource version is too old; list again.
    #[error("the resource version has expired")]
    Expired,
    /// 404: the kind is not served.
    #[error("{0}")]
    NotFound(String),
    /// 403: RBAC refuses it.
    #[error("{0}")]
    Forbidden(String),
    /// Anything else: try again later, not before the wait the server asked for.
    #[error("{detail}")]
    Unavailable {
        /// What went wrong.
        detail: String,
        /// What the server asked for (429); zero when it did not.
        wait: Duration,
    },
}

// === impl Failure ===

impl Failure {
    /// A failure of our own finding, worth a retry.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable { detail: shorten(&detail.into()), wait: Duration::ZERO }
    }

    /// `what` failed because of `error`.
    pub(crate) fn caused_by(what: &str, error: &dyn Error) -> Self {
        Self::unavailable(format!("{what}: {}", chain(error)))
    }

    /// Sorts a failure that Kubernetes described itself.
    pub(crate) fn from_status(status: &Status) -> Self {
        let said = if status.message.is_empty() { &status.reason } else { &status.message };
        let detail = if said.is_empty() {
            format!("the API server answered {} without a reason", status.code)
        } else {
            shorten(said)
        };
        match status.code {
            403 => Self::Forbidden(detail),
            404 => Self::NotFound(detail),
            410 => Self::Expired,
            code => {
                let wait = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                Self::Unavailable {
                    detail: format!("{detail} (HTTP {code})"),
                    wait: Duration::from_secs(wait.into()),
                }
            }
        }
    }
}

impl Failure {
    /// Sorts an answer that is no success, by its HTTP status and what its body says: a Status, or a sentence of
    /// whoever stands before the handlers. `wait` is what its head asked for.
    pub(crate) fn refused(code: u16, wait: Duration, body: &[u8]) -> Self {
        let mut status = serde_json::from_slice::<Status>(body)
            .unwrap_or_else(|_| Status::failure(&String::from_utf8_lossy(body), ""));
        if status.code == 0 {
            status.code = code;
        }
        match Self::from_status(&status) {
            Self::Unavailable { detail, wait: said } => Self::Unavailable { detail, wait: said.max(wait) },
            other => other,
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => Self::from_status(status),
            // kube's own words for these two add nothing but the name of its variant.
            kube::Error::Service(cause) => Self::caused_by(UNREACHABLE, cause.as_ref()),
            kube::Error::HyperError(cause) => Self::caused_by(UNREACHABLE, cause),
            other => Self::caused_by("the API server could not be asked", other),
        }
    }
}

/// The error and its causes. Many of kube's and hyper's messages repeat their cause; each is said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// `text` on one line, cut to [`MAX_DETAIL`] characters.
fn shorten(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_DETAIL) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status::failure(message, "Reason").with_code(code)
    }

    #[test]
    fn each_answer_is_sorted_by_what_it_asks_of_us() {
        assert_eq!(Failure::from_status(&status(410, "too old")), Failure::Expired);
        assert_eq!(Failure::from_status(&status(404, "no such")), Failure::NotFound("no such".into()));
        assert_eq!(
            Failure::from_status(&status(403, "pods is forbidden")),
            Failure::Forbidden("pods is forbidden".into())
        );
        assert_eq!(Failure::from_status(&status(503, "busy")), Failure::unavailable("busy (HTTP 503)"));
    }

    #[test]
    fn the_wait_that_a_throttled_client_is_told_is_kept() {
        let status: Status = serde_json::from_str(
            r#"{"kind": "Status", "status": "Failure", "message": "slow down", "code": 429,
                "details": {"retryAfterSeconds": 7}}"#,
        )
        .expect("a Status");
        assert_eq!(
            Failure::from_status(&status),
            Failure::Unavailable { detail: "slow down (HTTP 429)".into(), wait: Duration::from_secs(7) }
        );
    }

    #[test]
    fn a_refusal_by_priority_and_fairness_is_a_sentence_with_a_wait_in_its_head() {
        let said = b"Too many requests, please try again later.\n";
        assert_eq!(
            Failure::refused(429, Duration::from_secs(2), said),
            Failure::Unavailable {
                detail: "Too many requests, please try again later. (HTTP 429)".into(),
                wait: Duration::from_secs(2)
            }
        );
        assert_eq!(Failure::refused(410, Duration::ZERO, b"{}"), Failure::Expired);
        assert_eq!(
            Failure::refused(503, Duration::ZERO, b""),
            Failure::unavailable("the API server answered 503 without a reason (HTTP 503)")
        );
    }

    #[test]
    fn a_web_page_in_place_of_a_status_is_cut_to_one_line() {
        let page = format!("<html>\n{}", "ä".repeat(1000));
        let Failure::Unavailable { detail, .. } = Failure::from_status(&status(502, &page)) else {
            panic!("worth a retry")
        };
        assert!(detail.starts_with("<html> ää"), "{detail}");
        assert_eq!(detail.chars().count(), MAX_DETAIL + "… (HTTP 502)".chars().count());
    }

    #[test]
    fn a_cause_that_the_error_repeats_is_said_once() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        assert_eq!(
            Failure::from(kube::Error::Service(Box::new(refused))),
            Failure::unavailable("the API server cannot be reached: connection refused")
        );
        let broken = serde_json::from_str::<()>("<html>").expect_err("no JSON");
        assert_eq!(
            Failure::from(kube::Error::SerdeError(broken)),
            Failure::unavailable(
                "the API server could not be asked: Error deserializing response: expected value at line 1 column 1"
            )
        );
    }
}
