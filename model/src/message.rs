//! A message before it has its place in the log.

use std::net::SocketAddr;

/// What a producer sent, ready to be encoded. Offsets and store time come at append.
#[doc(alias = "MessageExtBrokerInner")]
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
    pub flag: i32,
    /// The address bits are set by the encoder from the hosts below.
    pub sys_flag: i32,
    /// Milliseconds since the Unix epoch, by the producer's clock.
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    /// Physical offset of the half message for a committed one, else 0.
    pub prepared_transaction_offset: i64,
    /// As it is stored: compressed if the producer compressed it.
    pub body: &'a [u8],
    /// The properties text, see [`crate::properties`].
    pub properties: &'a [u8],
}
