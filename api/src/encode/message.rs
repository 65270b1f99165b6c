//! A protobuf message in two pieces, as gRPC frames it.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};

/// One length-prefixed gRPC message: a piece of its own and a piece it shares with others.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) head: Bytes,
    pub(crate) shared: Bytes,
}

/// The start of a message whose end is elsewhere. Every step wraps what is there, together with the end, into a field
/// of an outer message.
#[derive(Debug)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    shared: usize,
}

// === impl Message ===

impl Message {
    /// A message that shares nothing.
    pub(crate) fn of(message: &impl prost::Message) -> Self {
        Self { head: framed(message), shared: Bytes::new() }
    }

    /// A message framed by [`framed`] that several receivers get.
    pub(crate) fn shared(framed: Bytes) -> Self {
        Self { head: framed, shared: Bytes::new() }
    }
}

/// The message with its gRPC prefix: not compressed, and how long it is.
pub(crate) fn framed(message: &impl prost::Message) -> Bytes {
    let len = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + len);
    prefix(&mut bytes, len);
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

fn prefix(bytes: &mut impl BufMut, len: usize) {
    bytes.put_u8(0);
    // A graph of 4 GiB would be refused long before, see MAX_ANSWER.
    bytes.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

// === impl Head ===

impl Head {
    /// A message that begins with `fields` and ends with `shared` more bytes.
    pub(crate) fn new(fields: &impl prost::Message, shared: usize) -> Self {
        Self { bytes: fields.encode_to_vec(), shared }
    }

    /// Makes it field `tag` of a message that begins with `fields`.
    pub(crate) fn inside(self, tag: u32, fields: &impl prost::Message) -> Self {
        let mut bytes = fields.encode_to_vec();
        encode_key(tag, WireType::LengthDelimited, &mut bytes);
        encode_varint((self.bytes.len() + self.shared) as u64, &mut bytes);
        bytes.extend_from_slice(&self.bytes);
        Self { bytes, shared: self.shared }
    }

    /// The gRPC message, given the end that was announced.
    pub(crate) fn before(self, shared: Bytes) -> Message {
        debug_assert_eq!(shared.len(), self.shared, "the announced length is the length");
        let mut head = BytesMut::with_capacity(5 + self.bytes.len());
        prefix(&mut head, self.bytes.len() + self.shared);
        head.extend_from_slice(&self.bytes);
        Message { head: head.freeze(), shared }
    }
}
