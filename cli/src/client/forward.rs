//! One forwarded connection. The kubelet reports trouble on a channel of its own; here it becomes an I/O error, and is
//! kept beside: what HTTP/2 says of a connection that failed is only that it is closed.

use futures::future::{BoxFuture, FutureExt};
use kube::api::Portforwarder;
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What the other end of a forwarded port last complained about. Written by the connection, read by who asks why a
/// question failed.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// A connection to a port of a pod.
pub(crate) struct Forwarded {
    stream: Box<dyn Stream>,
    /// Resolves when the other end says that the port is of no use; taken once it has.
    trouble: Option<BoxFuture<'static, Option<String>>>,
    said: Trouble,
}

// === impl Forwarded ===

impl Forwarded {
    /// Takes the stream of `port`; `None` when the forwarder has none. The forwarder may be dropped after: its task
    /// lives as long as the stream.
    pub(crate) fn new(forwarder: &mut Portforwarder, port: u16, said: Trouble) -> Option<Self> {
        let stream = forwarder.take_stream(port)?;
        let trouble = forwarder.take_error(port).map(FutureExt::boxed);
        Some(Self { stream: Box::new(stream), trouble, said })
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(trouble) = &mut self.trouble
            && let Poll::Ready(message) = trouble.poll_unpin(context)
        {
            self.trouble = None;
            if let Some(message) = message {
                *self.said.lock() = Some(message.clone());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, message)));
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
