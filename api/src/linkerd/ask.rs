//! What the questions to both controllers have in common: a connection, its limits, and what can go wrong.

use super::read::ReadError;
use std::{error::Error, future::Future, io, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// Largest answer that is read, in bytes. A port with a hundred routes is some 50 kB; tonic's own limit is as much.
pub(super) const MAX_ANSWER: usize = 4 << 20;
/// A controller's own words are cut here, in characters: they go into logs and answers.
const MAX_WORDS: usize = 500;

/// Bounds of the questions to one controller.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a whole question, waiting for its turn included.
    pub time: Duration,
    /// How many are asked at once; more wait.
    pub at_once: usize,
    /// How long a stream must be silent to be taken for complete.
    pub quiet: Duration,
}

/// A controller did not answer a question.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// What was given as address is none.
    #[error("`{address}` is no address of {controller}: {} takes HOST:PORT, without http://", controller.flag())]
    Address {
        /// Which controller.
        controller: Controller,
        /// What was given.
        address: String,
    },
    /// Nothing listens there, or the name does not resolve.
    #[error(
        "cannot reach {controller} at {address}: check that Service {} has endpoints, that no NetworkPolicy stands \
         between, and that {} is right",
        controller.service(),
        controller.flag()
    )]
    Unreachable {
        /// Which controller.
        controller: Controller,
        /// Its address.
        address: Arc<str>,
        /// What failed.
        #[source]
        source: Box<Status>,
    },
    /// It accepted the question and did not answer in time.
    #[error("{controller} at {address} gave no answer within {} ms", time.as_millis())]
    Slow {
        /// Which controller.
        controller: Controller,
        /// Its address.
        address: Arc<str>,
        /// How long was waited.
        time: Duration,
    },
    /// So many questions are under way that this one got no turn.
    #[error("{at_once} questions to {controller} are under way already; ask again later")]
    Busy {
        /// Which controller.
        controller: Controller,
        /// How many may be under way.
        at_once: usize,
    },
    /// Something speaks gRPC there that does not know the question.
    #[error("{address} does not serve {}: is it {controller}? {} names it", controller.rpc(), controller.flag())]
    NotServed {
        /// Which controller.
        controller: Controller,
        /// Its address.
        address: Arc<str>,
    },
    /// Something listens there that does not speak gRPC, or broke off.
    #[error(
        "{address} broke off or does not speak gRPC without TLS: is it {controller}? {} names it",
        controller.flag()
    )]
    Broken {
        /// Which controller.
        controller: Controller,
        /// Its address.
        address: Arc<str>,
        /// What failed.
        #[source]
        source: Box<Status>,
    },
    /// It answered with an error of its own.
    #[error("{controller} at {address} refused with {code:?}: {message}")]
    Refused {
        /// Which controller.
        controller: Controller,
        /// Its address.
        address: Arc<str>,
        /// The gRPC code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// Its answer makes no sense to us: a newer Linkerd, or not Linkerd at all.
    #[error("{controller} at {address} answered something that this version cannot read")]
    Unreadable {
        /// Which controller.
        controller: Controller,
        /// Its address.
        address: Arc<str>,
        /// What is wrong with it.
        #[source]
        source: ReadError,
    },
}

/// A controller of Linkerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Tells proxies whom to let in.
    Policy,
    /// Tells proxies where Services are.
    Destination,
}

/// A controller, its address, and a connection that is made when it is first needed, and again when it was lost.
#[derive(Debug, Clone)]
pub(super) struct Line {
    controller: Controller,
    address: Arc<str>,
    channel: Channel,
    turns: Arc<Semaphore>,
    limits: Limits,
}

// === impl Limits ===

impl Default for Limits {
    /// 5 s, 4 at once, 250 ms of silence: the destination controller sends a Service's endpoints in one message, and
    /// corrections that its own policy watches bring within milliseconds.
    fn default() -> Self {
        Self { time: Duration::from_secs(5), at_once: 4, quiet: Duration::from_millis(250) }
    }
}

// === impl Controller ===

impl Controller {
    fn flag(self) -> &'static str {
        match self {
            Self::Policy => "--policy-addr",
            Self::Destination => "--destination-addr",
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Policy => "linkerd-policy",
            Self::Destination => "linkerd-dst",
        }
    }

    fn rpc(self) -> &'static str {
        match self {
            Self::Policy => "io.linkerd.proxy.inbound.InboundServerPolicies",
            Self::Destination => "io.linkerd.proxy.destination.Destination",
        }
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Policy => "Linkerd's policy controller",
            Self::Destination => "Linkerd's destination controller",
        })
    }
}

// === impl Line ===

impl Line {
    /// Does not connect yet. Needs a running tokio.
    pub(super) fn new(controller: Controller, address: &str, limits: Limits) -> Result<Self, AskError> {
        let endpoint = endpoint(address)
            .ok_or_else(|| AskError::Address { controller, address: address.to_owned() })?
            .connect_timeout(limits.time)
            // A peer that vanished is noticed while a question waits, and not only by its own time limit.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        Ok(Self {
            controller,
            address: address.into(),
            channel: endpoint.connect_lazy(),
            turns: Arc::new(Semaphore::new(limits.at_once)),
            limits,
        })
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Waits for a turn, asks, and gives up when both have taken too long.
    pub(super) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, AskError> {
        let deadline = time::Instant::now() + self.limits.time;
        let Ok(turn) = time::timeout_at(deadline, self.turns.acquire()).await else {
            return Err(AskError::Busy { controller: self.controller, at_once: self.limits.at_once });
        };
        let answer = time::timeout_at(deadline, question).await;
        drop(turn);
        match answer {
            Ok(answer) => answer.map_err(|failure| self.error(failure)),
            Err(_) => Err(self.slow()),
        }
    }

    fn error(&self, failure: Failure) -> AskError {
        match failure {
            Failure::Status(status) => self.status(status),
            Failure::Read(source) => {
                AskError::Unreadable { controller: self.controller, address: self.address.clone(), source }
            }
        }
    }

    fn slow(&self) -> AskError {
        let (controller, address) = (self.controller, self.address.clone());
        AskError::Slow { controller, address, time: self.limits.time }
    }

    /// A status comes from the controller, or stands for a connection that failed; the latter has a source.
    fn status(&self, status: Status) -> AskError {
        let (controller, address) = (self.controller, self.address.clone());
        match (status.code(), status.source().is_some()) {
            (Code::Unimplemented, _) => AskError::NotServed { controller, address },
            (Code::Cancelled | Code::DeadlineExceeded, _) if is_timeout(&status) => self.slow(),
            (_, true) if caused_by_connecting(&status) => {
                AskError::Unreachable { controller, address, source: Box::new(status) }
            }
            (_, true) => AskError::Broken { controller, address, source: Box::new(status) },
            (code, false) => AskError::Refused { controller, address, code, message: words(&status) },
        }
    }
}

/// What a question may fail with before it is known whom it was asked of.
pub(super) enum Failure {
    Status(Status),
    Read(ReadError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

fn endpoint(address: &str) -> Option<Endpoint> {
    let uri: http::Uri = format!("http://{address}").parse().ok()?;
    let plain = uri.port_u16().is_some_and(|port| port != 0)
        && uri.path() == "/"
        && uri.query().is_none()
        && uri
            .authority()
            .is_some_and(|authority| authority.as_str() == address && !authority.host().is_empty())
        && !address.contains('@');
    plain.then(|| Endpoint::from(uri))
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// Names that do not resolve and connections that are refused end in an I/O error; so do connections that break later,
/// of which tonic says that they were no attempt to connect.
fn caused_by_connecting(status: &Status) -> bool {
    let transport = sources(status).any(|error| error.to_string().contains("connect error"));
    transport || (status.code() == Code::Unavailable && sources(status).any(|error| error.is::<io::Error>()))
}

fn is_timeout(status: &Status) -> bool {
    status.message().to_ascii_lowercase().contains("timeout")
}

fn words(status: &Status) -> String {
    let words = status.message().trim();
    if words.is_empty() { "it gave no reason".to_owned() } else { words.chars().take(MAX_WORDS).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_nothing_else() {
        for good in ["127.0.0.1:8090", "[::1]:8090", "linkerd-policy.linkerd.svc.cluster.local:8090"] {
            assert!(endpoint(good).is_some(), "{good}");
        }
        for bad in ["", ":8090", "linkerd-policy", "http://a:1", "a:0", "a:99999", "a:1/x", "u@a:1", "a b:1"]
        {
            assert!(endpoint(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_bad_address_is_refused_with_the_flag_that_names_it() {
        let error =
            Line::new(Controller::Policy, "http://linkerd-policy:8090", Limits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`http://linkerd-policy:8090` is no address of Linkerd's policy controller: --policy-addr takes HOST:PORT, \
             without http://"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_gets_no_turn_says_how_many_are_under_way() {
        let limits = Limits { at_once: 1, ..Limits::default() };
        let line = Line::new(Controller::Destination, "127.0.0.1:1", limits).unwrap();
        let forever = line.ask(std::future::pending::<Result<(), Failure>>());
        tokio::pin!(forever);
        assert!(futures::poll!(&mut forever).is_pending());
        time::advance(Duration::from_secs(1)).await;
        let second = line.ask(async { Ok(()) });
        let (first, second) = tokio::join!(forever, second);
        assert_eq!(
            first.unwrap_err().to_string(),
            "Linkerd's destination controller at 127.0.0.1:1 gave no answer within 5000 ms"
        );
        second.unwrap();
        let forever = line.ask(std::future::pending::<Result<(), Failure>>());
        let _held = line.turns.acquire().await.unwrap();
        assert_eq!(
            forever.await.unwrap_err().to_string(),
            "1 questions to Linkerd's destination controller are under way already; ask again later"
        );
    }

    #[tokio::test]
    async fn what_a_controller_says_itself_is_told_from_what_the_connection_does() {
        let line = Line::new(Controller::Policy, "127.0.0.1:1", Limits::default()).unwrap();
        let said = |status: Status| line.status(status).to_string();
        assert_eq!(
            said(Status::internal(" x ".repeat(1_000))).len(),
            "Linkerd's policy controller at 127.0.0.1:1 refused with Internal: ".len() + MAX_WORDS
        );
        assert_eq!(
            said(Status::permission_denied("")),
            "Linkerd's policy controller at 127.0.0.1:1 refused with PermissionDenied: it gave no reason"
        );
        assert!(said(Status::unimplemented("")).starts_with("127.0.0.1:1 does not serve io.linkerd.proxy."));
    }
}
