//! `offsetMsgId`: upper-case hex of store host and physical offset (RocketMQ `MessageDecoder.createMessageId`).

use std::net::{IpAddr, SocketAddr};

use crate::hosts;
use crate::offset::PhysicalOffset;

/// 32 characters for an IPv4 store host, 56 for IPv6.
#[doc(alias = "offsetMsgId")]
pub fn encode(store_host: SocketAddr, offset: PhysicalOffset) -> String {
    let mut text = String::with_capacity(if store_host.is_ipv6() { 56 } else { 32 });
    push(store_host, offset, &mut text);
    text
}

/// Appends what [`encode`] makes.
pub fn push(store_host: SocketAddr, offset: PhysicalOffset, text: &mut String) {
    match store_host.ip() {
        IpAddr::V4(ip) => push_hex(&ip.octets(), text),
        IpAddr::V6(ip) => push_hex(&ip.octets(), text),
    }
    push_hex(&u32::from(store_host.port()).to_be_bytes(), text);
    push_hex(&offset.0.to_be_bytes(), text);
}

fn push_hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
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
