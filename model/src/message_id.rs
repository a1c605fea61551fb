//! `offsetMsgId`: upper-case hex of store host and physical offset (RocketMQ `MessageDecoder.createMessageId`).

use std::net::SocketAddr;

use crate::hosts;
use crate::offset::PhysicalOffset;

/// 32 characters for an IPv4 store host, 56 for IPv6.
#[doc(alias = "offsetMsgId")]
pub fn encode(store_host: SocketAddr, offset: PhysicalOffset) -> String {
    let mut bytes = Vec::with_capacity(28);
    hosts::encode(store_host, &mut bytes);
    bytes.extend_from_slice(&offset.0.to_be_bytes());
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The host and offset that an id names; `None` if it is not one.
pub fn decode(id: &str) -> Option<(SocketAddr, PhysicalOffset)> {
    if !id.is_ascii() || !matches!(id.len(), 32 | 56) {
        return None;
    }
    let mut bytes = Vec::with_capacity(28);
    for pair in 0..id.len() / 2 {
        bytes.push(u8::from_str_radix(&id[pair * 2..pair * 2 + 2], 16).ok()?);
    }
    let (host, offset) = bytes.split_at(bytes.len() - 8);
    Some((hosts::decode(host)?, PhysicalOffset(u64::from_be_bytes(offset.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_both_ways() {
        for host in ["127.0.0.1:10911", "[::1]:10911"] {
            let host: SocketAddr = host.parse().unwrap();
            let id = encode(host, PhysicalOffset(0x1234));
            assert_eq!(decode(&id), Some((host, PhysicalOffset(0x1234))));
        }
        assert_eq!(encode("127.0.0.1:10911".parse().unwrap(), PhysicalOffset(255)), "7F00000100002A9F00000000000000FF");
        assert_eq!(decode("zz00000100002A9F00000000000000FF"), None);
    }
}
