//! Addresses as they are stored in messages and written into ids: IP bytes, then the port as 4 bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes that an address takes: 8 for IPv4, 20 for IPv6.
pub fn encoded_len(is_v6: bool) -> usize {
    if is_v6 { 20 } else { 8 }
}

/// An IPv4 address that reached us over an IPv6 socket counts as IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub fn encode(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&u32::from(address.port()).to_be_bytes());
}

/// Decodes 8 or 20 bytes; `None` for any other length or a port above 65,535.
pub fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    let port = u32::from_be_bytes(port.try_into().ok()?);
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}
