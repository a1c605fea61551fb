//! What the machine calls itself; defaults for names and addresses that a configuration leaves out.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The machine's host name; `localhost` if it has none.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The IPv4 address from which this machine would speak to the outside; 127.0.0.1 without such a route.
///
/// On a host with several interfaces that is one of them, by the routing table; RocketMQ takes the first that is not
/// a loopback. Connecting a UDP socket sends nothing, it only asks the kernel for the route.
pub fn outward_ipv4() -> Ipv4Addr {
    // An address reserved for documentation (RFC 5737): no machine has it.
    const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let address = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(ELSEWHERE).and_then(|()| socket.local_addr()));
    match address.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) if !address.is_unspecified() => address,
        _ => Ipv4Addr::LOCALHOST,
    }
}

/// The machine's memory.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    // The kernel's fields are `unsigned long`, whose width is the platform's.
    u64::from(info.mem_unit) * info.totalram as u64
}
