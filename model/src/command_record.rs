//! Commands in the log: `i32 size, u32 magic, u16 type, u16 version, protobuf body` (docs/on-disk-format.md).
//!
//! A command lies between message records in the body of a Raft entry. Types and versions are for ever; what a body
//! means is the state machine's business (`broker/state_machine`).

/// `RMQC`: never a RocketMQ message magic.
pub const MAGIC: u32 = 0x524D_5143;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 12;

/// One command as it lies in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRecord<'a> {
    pub kind: u16,
    pub version: u16,
    pub body: &'a [u8],
}

impl CommandRecord<'_> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let size = HEADER_BYTES + self.body.len();
        out.extend_from_slice(&(size as u32).to_be_bytes());
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(self.body);
    }
}

/// Decodes one whole command record; `None` if the size or the magic does not fit.
pub fn decode(bytes: &[u8]) -> Option<CommandRecord<'_>> {
    let header = bytes.get(..HEADER_BYTES)?;
    let size = u32::from_be_bytes(header[..4].try_into().ok()?);
    let magic = u32::from_be_bytes(header[4..8].try_into().ok()?);
    if size as usize != bytes.len() || magic != MAGIC {
        return None;
    }
    Some(CommandRecord {
        kind: u16::from_be_bytes([header[8], header[9]]),
        version: u16::from_be_bytes([header[10], header[11]]),
        body: &bytes[HEADER_BYTES..],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut bytes = Vec::new();
        CommandRecord { kind: 1, version: 2, body: b"ab" }.encode(&mut bytes);
        assert_eq!(bytes, b"\0\0\0\x0eRMQC\0\x01\0\x02ab");
        assert_eq!(decode(&bytes), Some(CommandRecord { kind: 1, version: 2, body: b"ab" }));
        assert_eq!(decode(&bytes[..13]), None);
    }
}
