use bytes::Bytes;

/// Takes requests that other members send to the leader.
///
/// Called on the Raft runtime: must not block. It is asked whether or not this member leads; the payload's own
/// format says how to answer "not the leader".
pub trait ForwardHandler: Send + Sync + 'static {
    fn handle(&self, from_slot: u16, payload: Bytes, reply: ForwardReply);
}

/// Sends the answer of one forwarded request; dropping it leaves the sender to its deadline.
pub type ForwardReply = Box<dyn FnOnce(Bytes) + Send>;
