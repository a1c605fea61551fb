//! UNIQ_KEY, the id a producer gives a message (RocketMQ `MessageClientIDSetter`; opaque to brokers).

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes ids: address, process, a number per instance, milliseconds, counter; upper-case hex, 32 characters with an
/// IPv4 address and 56 with an IPv6 one.
pub(crate) struct UniqueIds {
    prefix: String,
    counter: AtomicU32,
}

impl UniqueIds {
    /// `salt` tells two instances of one process apart, where Java uses the hash of the class loader.
    pub(crate) fn new(address: IpAddr, process: u32, salt: u32) -> UniqueIds {
        let mut bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        bytes.extend_from_slice(&(process as u16).to_be_bytes());
        bytes.extend_from_slice(&salt.to_be_bytes());
        let prefix = bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02X}");
            text
        });
        UniqueIds { prefix, counter: AtomicU32::new(0) }
    }

    /// A new id. The counter has 16 bits in the id, so ids repeat if more than 65 536 are made in a millisecond.
    pub(crate) fn next(&self, unix_ms: i64) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed) as u16;
        format!("{}{:08X}{count:04X}", self.prefix, unix_ms as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_rocketmqs_length_and_differ() {
        let ids = UniqueIds::new("127.0.0.1".parse().unwrap(), 0x1234, 7);
        let first = ids.next(1);
        assert_eq!(first, "7F000001123400000007000000010000");
        assert_ne!(first, ids.next(1));
        assert_eq!(UniqueIds::new("::1".parse().unwrap(), 1, 7).next(1).len(), 56);
    }
}
