//! A TCP proxy that can be told to misbehave, to put between a program and what it depends on.
//!
//! Started with a [`Meddler`] it knows the messages that Redis pushes to subscribers, and can lose, repeat, delay or
//! change single ones.

pub mod pushes;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::background::Background;
use pushes::{Meddler, Wire};

/// What the proxy does with bytes and with new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Hands everything on.
    Pass,
    /// Hands everything on, each piece this much later.
    Delay(Duration),
    /// Hands everything on, each piece this much later, and one of so many later again, as when packets get lost and
    /// are sent again.
    Lossy {
        /// For every piece.
        delay: Duration,
        /// One of how many pieces is sent again.
        one_in: u32,
        /// After how long it is.
        again: Duration,
    },
    /// Keeps connections open and accepts new ones, but nothing comes through, as in a network partition.
    Stall,
    /// Resets every new connection. Open ones go on; see [`Proxy::cut`].
    Refuse,
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    _server: Background,
}

/// Written by the test, read by every connection.
#[derive(Clone, Copy, Debug)]
struct State {
    target: SocketAddr,
    behaviour: Behaviour,
    /// Connections of an earlier generation must close.
    generation: u64,
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy that passes everything on.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        Self::start_with(target, None)
    }

    /// Starts a proxy in front of Redis that passes everything on but for what `meddler` does to pushed messages.
    pub fn meddling(target: SocketAddr, meddler: Meddler) -> io::Result<Self> {
        Self::start_with(target, Some(meddler))
    }

    fn start_with(target: SocketAddr, meddler: Option<Meddler>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (state, state_rx) = watch::channel(State { target, behaviour: Behaviour::Pass, generation: 0 });
        let server = Background::spawn("proxy", move || accept(listener, state_rx, meddler))?;
        Ok(Self { address, state, _server: server })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves differently from now on, on open connections too.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state.send_modify(|state| state.behaviour = behaviour);
    }

    /// Connects to somebody else from now on; open connections stay where they are.
    pub fn retarget(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = target);
    }

    /// Closes all open connections.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

async fn accept(listener: std::net::TcpListener, state_rx: watch::Receiver<State>, meddler: Option<Meddler>) {
    let listener = TcpListener::from_std(listener).expect("the listener does not block");
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if state_rx.borrow().behaviour == Behaviour::Refuse {
            // With no time to linger, closing sends a reset.
            let _ = client.set_zero_linger();
            continue;
        }
        tokio::spawn(connection(client, state_rx.clone(), meddler.clone()));
    }
}

/// Carries one connection until either side ends it or the proxy is told to cut it.
async fn connection(client: TcpStream, state_rx: watch::Receiver<State>, meddler: Option<Meddler>) {
    let State { target, generation, .. } = *state_rx.borrow();
    let carry = async {
        let Ok(server) = TcpStream::connect(target).await else { return };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let _ = tokio::join!(
            copy(from_client, to_server, state_rx.clone(), None),
            copy(from_server, to_client, state_rx.clone(), meddler.map(Wire::new))
        );
    };
    let mut cut_rx = state_rx.clone();
    tokio::select! {
        // First, so that nothing that was held back comes through when a stall ends right after a cut.
        biased;
        _ = cut_rx.wait_for(|state| state.generation != generation) => {}
        () = carry => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state_rx: watch::Receiver<State>,
    mut wire: Option<Wire>,
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    let mut pieces = 0_u32;
    loop {
        let n = from.read(&mut piece).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        let behaviour = match state_rx.wait_for(|state| state.behaviour != Behaviour::Stall).await {
            Ok(state) => state.behaviour,
            Err(_) => return Ok(()),
        };
        pieces = pieces.wrapping_add(1);
        match behaviour {
            Behaviour::Delay(time) => tokio::time::sleep(time).await,
            Behaviour::Lossy { delay, one_in, again } => {
                let lost = pieces.is_multiple_of(one_in);
                tokio::time::sleep(if lost { delay + again } else { delay }).await;
            }
            Behaviour::Pass | Behaviour::Stall | Behaviour::Refuse => {}
        }
        match &mut wire {
            None => to.write_all(&piece[..n]).await?,
            Some(wire) => to.write_all(&wire.pass(&piece[..n])).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    const SOON: Duration = Duration::from_secs(10);

    /// Sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        let mut answer = [0; 4];
        stream.write_all(b"ping").await?;
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    #[tokio::test]
    async fn bytes_pass_and_a_delay_is_felt() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = connect(&proxy).await;
        assert_eq!(&say(&mut stream).await.unwrap(), b"ping");
        proxy.behave(Behaviour::Delay(Duration::from_millis(100)));
        let started = Instant::now();
        assert_eq!(&say(&mut stream).await.unwrap(), b"ping");
        assert!(started.elapsed() >= Duration::from_millis(200), "there and back");
    }

    #[tokio::test]
    async fn one_of_so_many_pieces_is_later_than_the_others() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = connect(&proxy).await;
        let again = Duration::from_millis(100);
        proxy.behave(Behaviour::Lossy { delay: Duration::ZERO, one_in: 3, again });
        let started = Instant::now();
        for _ in 0..3 {
            assert_eq!(&say(&mut stream).await.unwrap(), b"ping");
        }
        assert!(started.elapsed() >= 2 * again, "the third, there and back");
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_lets_new_ones_in() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = connect(&proxy).await;
        say(&mut stream).await.unwrap();
        proxy.cut();
        assert_eq!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
        assert_eq!(&say(&mut connect(&proxy).await).await.unwrap(), b"ping");
    }

    #[tokio::test]
    async fn a_refused_connection_fails_at_once() {
        let proxy = Proxy::start(echo().await).unwrap();
        proxy.behave(Behaviour::Refuse);
        let attempt = async { say(&mut TcpStream::connect(proxy.address()).await?).await };
        assert!(timeout(SOON, attempt).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_was_sent_in_a_stall_arrives_after_it() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = connect(&proxy).await;
        say(&mut stream).await.unwrap();
        proxy.behave(Behaviour::Stall);
        let mut asked = Box::pin(say(&mut stream));
        assert!(timeout(Duration::from_millis(100), &mut asked).await.is_err());
        proxy.behave(Behaviour::Pass);
        assert_eq!(&timeout(SOON, asked).await.unwrap().unwrap(), b"ping");
    }

    #[tokio::test]
    async fn after_retargeting_new_connections_go_elsewhere() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], crate::process::free_ports(1).unwrap()[0]));
        let proxy = Proxy::start(nobody).unwrap();
        assert!(say(&mut connect(&proxy).await).await.is_err());
        proxy.retarget(echo().await);
        assert_eq!(&say(&mut connect(&proxy).await).await.unwrap(), b"ping");
    }
}
