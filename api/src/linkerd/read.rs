//! What the messages of both controllers have in common.

use linkerd2_proxy_api::net;
use std::{net::SocketAddr, sync::Arc};

/// A message that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A field that is always set is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number that cannot be one.
    #[error("{number} is no {what}")]
    Number {
        /// What it should be.
        what: &'static str,
        /// What it is.
        number: u64,
    },
    /// Bytes that should be text.
    #[error("{0} is no text")]
    Text(&'static str),
    /// An address or network.
    #[error("an address or network cannot be read")]
    Address(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// A regular expression.
    #[error("`{pattern}` is no regular expression")]
    Pattern {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Something that Linkerd's API has and its controllers were never seen to use.
    #[error("it says something about {0}, which is not known here")]
    Unknown(&'static str),
    /// More than anything real.
    #[error("it lists more than {limit} {what}")]
    Many {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// The API's own conversion cuts ports to 16 bits.
pub(super) fn port(number: u32) -> Result<u16, ReadError> {
    u16::try_from(number).map_err(|_| ReadError::Number { what: "port", number: number.into() })
}

pub(super) fn socket_address(address: Option<net::TcpAddress>) -> Result<SocketAddr, ReadError> {
    let address = address.ok_or(ReadError::Missing("an endpoint's address"))?;
    port(address.port)?;
    address.try_into().map_err(|error: net::InvalidIpAddress| ReadError::Address(Arc::new(error)))
}
