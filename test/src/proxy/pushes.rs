//! The messages that Redis pushes to a subscriber, one by one, and what may become of them on the way.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// A message on its way to a subscriber.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Where it was published.
    pub channel: &'a [u8],
    /// What was published.
    pub payload: &'a [u8],
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Pass,
    /// It never arrives.
    Lose,
    /// It arrives now, and once more after the next that passes.
    Repeat,
    /// It arrives after the next that passes.
    Overtake,
    /// Something else arrives.
    Change(Vec<u8>),
}

/// Decides about every message of every connection of a proxy. Clones decide together.
#[derive(Clone)]
pub struct Meddler {
    judge: Arc<Mutex<Judge>>,
}

type Judge = dyn FnMut(Push<'_>) -> Fate + Send;

/// One connection's stream from Redis.
#[derive(Debug)]
pub(super) struct Wire {
    meddler: Meddler,
    /// What came and is not whole yet.
    rest: Vec<u8>,
    /// What follows the next message that passes.
    late: Vec<u8>,
}

/// A reply with more parts than this is no message; it passes unread.
const MESSAGE_PARTS: usize = 3;

// === impl Meddler ===

impl Meddler {
    /// Lets `judge` decide.
    pub fn new(judge: impl FnMut(Push<'_>) -> Fate + Send + 'static) -> Self {
        Self { judge: Arc::new(Mutex::new(judge)) }
    }

    fn fate(&self, push: Push<'_>) -> Fate {
        (self.judge.lock())(push)
    }
}

impl fmt::Debug for Meddler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meddler").finish_non_exhaustive()
    }
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(meddler: Meddler) -> Self {
        Self { meddler, rest: Vec::new(), late: Vec::new() }
    }

    /// Takes in what came and gives what is to be handed on.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(len) = reply(&self.rest) {
            let rest = self.rest.split_off(len);
            let whole = std::mem::replace(&mut self.rest, rest);
            let fate = message(&whole).map_or(Fate::Pass, |push| self.meddler.fate(push));
            match fate {
                Fate::Lose => continue,
                Fate::Overtake => {
                    self.late.extend(whole);
                    continue;
                }
                Fate::Pass => out.extend(whole),
                Fate::Change(payload) => {
                    let Some(push) = message(&whole) else { continue };
                    out.extend(written(Push { payload: &payload, ..push }));
                }
                Fate::Repeat => {
                    out.extend_from_slice(&whole);
                    out.append(&mut self.late);
                    self.late = whole;
                    continue;
                }
            }
            out.append(&mut self.late);
        }
        out
    }
}

/// The line that `bytes` begin with, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// How many bytes the reply has that `bytes` begin with; none while it is not whole.
fn reply(bytes: &[u8]) -> Option<usize> {
    let (head, after) = line(bytes)?;
    let number = || std::str::from_utf8(head.get(1..)?).ok()?.parse::<i64>().ok();
    let mut used = head.len() + 2;
    match head.first() {
        Some(b'$') => {
            // A missing string has the length -1 and nothing after it.
            if let Ok(size) = usize::try_from(number()?) {
                used += size + 2;
            }
        }
        Some(b'*' | b'>') => {
            let mut after = after;
            for _ in 0..number()?.max(0) {
                let len = reply(after)?;
                after = &after[len..];
                used += len;
            }
        }
        _ => {}
    }
    (bytes.len() >= used).then_some(used)
}

/// The message in a whole reply, if it is one.
fn message(reply: &[u8]) -> Option<Push<'_>> {
    let (head, mut rest) = line(reply)?;
    if head != format!("*{MESSAGE_PARTS}").as_bytes() {
        return None;
    }
    let mut parts = [[].as_slice(); MESSAGE_PARTS];
    for part in &mut parts {
        let (head, after) = line(rest)?;
        let size: usize = std::str::from_utf8(head.strip_prefix(b"$")?).ok()?.parse().ok()?;
        *part = after.get(..size)?;
        rest = after.get(size + 2..)?;
    }
    let [kind, channel, payload] = parts;
    (kind == b"message").then_some(Push { channel, payload })
}

fn written(push: Push<'_>) -> Vec<u8> {
    let mut bytes = format!("*{MESSAGE_PARTS}\r\n").into_bytes();
    for part in [b"message".as_slice(), push.channel, push.payload] {
        bytes.extend(format!("${}\r\n", part.len()).bytes());
        bytes.extend_from_slice(part);
        bytes.extend(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(payload: &str) -> Vec<u8> {
        written(Push { channel: b"news", payload: payload.as_bytes() })
    }

    /// A judge by payload.
    fn judged(stream: &[u8], size: usize) -> Vec<u8> {
        let mut wire = Wire::new(Meddler::new(|push| match push.payload {
            b"lost" => Fate::Lose,
            b"twice" => Fate::Repeat,
            b"late" => Fate::Overtake,
            b"old" => Fate::Change(b"new words".to_vec()),
            _ => Fate::Pass,
        }));
        stream.chunks(size).flat_map(|chunk| wire.pass(chunk)).collect()
    }

    #[test]
    fn every_message_meets_its_fate_however_the_stream_is_cut() {
        let sent = ["a", "lost", "late", "b", "twice", "c", "old", "d"].map(push).concat();
        let arrives = ["a", "b", "late", "twice", "c", "twice", "new words", "d"].map(push).concat();
        for size in [1, 7, sent.len()] {
            assert_eq!(
                String::from_utf8_lossy(&judged(&sent, size)),
                String::from_utf8_lossy(&arrives),
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn answers_to_commands_pass_unchanged() {
        let answers = b"+OK\r\n:7\r\n$-1\r\n$4\r\nlost\r\n-ERR no\r\n*2\r\n*1\r\n$4\r\nlost\r\n*-1\r\n\
            *3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n$4\r\nlost\r\n";
        for size in [1, 5, answers.len()] {
            assert_eq!(String::from_utf8_lossy(&judged(answers, size)), String::from_utf8_lossy(answers));
        }
    }
}
