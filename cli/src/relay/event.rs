//! Server-sent events, out of the bytes of an answer.

/// What has come of a stream.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Bytes of a line that has not ended.
    rest: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The id of the last event that had one: where to go on after a break.
    pub(crate) last_id: Option<String>,
}

/// An event is longer than anything that is meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an event of the answer is larger than {MAX} bytes")]
pub(crate) struct TooLarge;

/// The most bytes of one event.
pub(crate) const MAX: usize = 16 << 20;

// === impl Events ===

impl Events {
    /// Takes bytes in, and gives the data of the events that they complete. Comments and events without data are none.
    ///
    /// # Errors
    /// When an event is too large.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLarge> {
        let mut whole = Vec::new();
        let mut bytes = bytes;
        while let Some(at) = bytes.iter().position(|it| *it == b'\n') {
            self.rest.extend_from_slice(&bytes[..at]);
            bytes = &bytes[at + 1..];
            let line = std::mem::take(&mut self.rest);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                let data = std::mem::take(&mut self.data);
                if std::mem::take(&mut self.has_data) && !data.trim_ascii().is_empty() {
                    whole.push(data);
                }
            } else {
                self.field(line);
            }
            self.bounded()?;
        }
        self.rest.extend_from_slice(bytes);
        self.bounded()?;
        Ok(whole)
    }

    fn field(&mut self, line: &[u8]) {
        let (name, value) = match line.iter().position(|it| *it == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"id" => self.last_id = std::str::from_utf8(value).ok().map(str::to_owned),
            _ => {}
        }
    }

    fn bounded(&self) -> Result<(), TooLarge> {
        if self.rest.len() + self.data.len() > MAX { Err(TooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same events, however the bytes are cut.
    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let stream = b": hello\r\nid: 0\r\nretry: 3000\r\ndata:\r\n\r\nevent: message\nid: 7/1\ndata: {\"a\":\ndata: 1}\n\n\
                       data:{}\n\n:\n\ndata: cut";
        for size in 1..stream.len() {
            let mut events = Events::default();
            let mut all = Vec::new();
            for piece in stream.chunks(size) {
                all.extend(events.push(piece).unwrap());
            }
            assert_eq!(all, [b"{\"a\":\n1}".to_vec(), b"{}".to_vec()], "pieces of {size}");
            assert_eq!(events.last_id.as_deref(), Some("7/1"));
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = Events::default();
        let piece = vec![b'x'; 1 << 20];
        assert_eq!((0..20).find_map(|_| events.push(&piece).err()), Some(TooLarge));
    }
}
