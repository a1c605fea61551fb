//! Who may talk to whom: the first two messages of each link.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::durable::Durable;
use crate::membership::BrokerNode;
use crate::transport::{Link, Message, Transport};
use crate::wire::{self, Body, FORMAT, Hello, PeerMessage, Purpose, Refusal, Welcome};

/// For the answer to Hello, and for the Hello itself at the other end.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a member is, as it tells every other.
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) slot: u16,
    pub(crate) incarnation: u128,
    pub(crate) segment_bytes: u64,
    /// The slots of all configured members, in order; they must agree when the group is formed.
    pub(crate) slots: Vec<u32>,
    pub(crate) durable: Arc<Durable>,
}

/// Why there is no link. Nothing was sent over it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    #[error("{address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{address} refused: {reason}")]
    Refused {
        address: String,
        reason: String,
        /// The peer knows this member's slot under another incarnation.
        replaced: bool,
    },
}

/// Opens links to other members.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) identity: Arc<Identity>,
    /// Where the tasks of links run, whoever asks for them.
    pub(crate) runtime: Handle,
    pub(crate) refusals: Arc<RefusalLog>,
}

impl Dialer {
    /// A link that the other end has welcomed. `incarnation` is what the membership says of the peer.
    pub(crate) async fn dial(
        &self,
        address: &str,
        slot: u16,
        incarnation: Option<u128>,
        purpose: Purpose,
    ) -> Result<(Link, Welcome), DialError> {
        let unreachable = |reason: String| DialError::Unreachable { address: address.to_owned(), reason };
        let mut link = self.transport.connect(address).await.map_err(|error| unreachable(error.0))?;
        let hello = self.identity.hello(slot, incarnation, purpose);
        let message = Message(PeerMessage { id: 0, body: Some(Body::Hello(hello)) });
        if link.outgoing.send(message).await.is_err() {
            return Err(unreachable("the link ended".to_owned()));
        }
        let answer = tokio::time::timeout(HANDSHAKE_TIMEOUT, link.incoming.next()).await;
        match answer {
            Err(_) => Err(unreachable(format!("no answer to the handshake within {HANDSHAKE_TIMEOUT:?}"))),
            Ok(None) => Err(unreachable("the link ended".to_owned())),
            Ok(Some(Err(error))) => Err(unreachable(error.0)),
            Ok(Some(Ok(Message(message)))) => match message.body {
                Some(Body::Welcome(welcome)) => Ok((link, welcome)),
                Some(Body::Refusal(Refusal { reason, replaced })) => {
                    Err(DialError::Refused { address: address.to_owned(), reason, replaced })
                }
                _ => Err(unreachable("malformed answer to the handshake".to_owned())),
            },
        }
    }

    /// [`Dialer::dial`] to a member of the membership.
    pub(crate) async fn dial_member(&self, member: &BrokerNode, purpose: Purpose) -> Result<Link, DialError> {
        match self.dial(&member.address, member.slot, Some(member.incarnation), purpose).await {
            Ok((link, _)) => Ok(link),
            Err(error) => {
                if matches!(error, DialError::Refused { .. }) {
                    self.refusals.note(u32::from(member.slot), &error.to_string());
                }
                Err(error)
            }
        }
    }
}

/// Says each refusal once, and again when it lasts: members try several times a second.
#[derive(Default)]
pub(crate) struct RefusalLog {
    last: Mutex<HashMap<u32, (String, Instant)>>,
}

const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(30);

impl RefusalLog {
    pub(crate) fn note(&self, slot: u32, reason: &str) {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.get(&slot);
        if known.is_some_and(|(text, at)| text == reason && now.duration_since(*at) < REFUSAL_LOG_INTERVAL) {
            return;
        }
        // Slots come from strangers too; there are at most 65536 real ones.
        if slot <= u32::from(u16::MAX) {
            last.insert(slot, (reason.to_owned(), now));
        }
        tracing::warn!(peer = slot, reason, "refused");
    }
}

impl Identity {
    pub(crate) fn hello(&self, slot: u16, incarnation: Option<u128>, purpose: Purpose) -> Hello {
        Hello {
            format: FORMAT,
            cluster: self.cluster.clone(),
            group: self.group.clone(),
            purpose: purpose.into(),
            from_slot: u32::from(self.slot),
            from_incarnation: wire::incarnation_bytes(self.incarnation),
            to_slot: u32::from(slot),
            to_incarnation: incarnation.map(wire::incarnation_bytes).unwrap_or_default(),
            joined: self.durable.joined(),
            segment_bytes: self.segment_bytes,
            slots: self.slots.clone(),
            founder: self.durable.founder().map(wire::incarnation_bytes).unwrap_or_default(),
            authentication: bytes::Bytes::new(),
        }
    }

    pub(crate) fn welcome(&self) -> Body {
        Body::Welcome(Welcome { incarnation: wire::incarnation_bytes(self.incarnation), joined: self.durable.joined() })
    }

    /// What the receiver of a Hello does about it. `known` is the sender's slot in the receiver's membership, and
    /// `members` says whether there is a membership at all.
    pub(crate) fn judge(&self, hello: &Hello, known: Option<&BrokerNode>, members: bool) -> Verdict {
        let from = hello.from_slot;
        let own = format!("n{} of group {}", self.slot, self.group);
        let refuse = |reason: String| Verdict::Refuse(Refusal { reason, replaced: false });
        if hello.format != FORMAT {
            return refuse(format!("{own} speaks format {FORMAT}, n{from} speaks {}", hello.format));
        }
        if hello.cluster != self.cluster || hello.group != self.group {
            return refuse(format!(
                "{own} belongs to cluster {}, n{from} to group {} of cluster {}",
                self.cluster, hello.group, hello.cluster
            ));
        }
        if hello.to_slot != u32::from(self.slot) {
            return refuse(format!("n{from} looks for n{} and found {own}", hello.to_slot));
        }
        if from == u32::from(self.slot) {
            return refuse(format!("{own} was called by a member that claims the same slot"));
        }
        if hello.segment_bytes != self.segment_bytes {
            return refuse(format!(
                "{own} has segments of {} bytes, n{from} of {}",
                self.segment_bytes, hello.segment_bytes
            ));
        }
        let Some(from_incarnation) = wire::incarnation(&hello.from_incarnation) else {
            return refuse(format!("n{from} sent a malformed incarnation"));
        };
        let to_incarnation = wire::incarnation(&hello.to_incarnation);
        if to_incarnation.is_some_and(|incarnation| incarnation != self.incarnation) {
            return refuse(format!(
                "n{from} knows {own} under another incarnation: this directory was wiped or replaced after it joined"
            ));
        }
        if known.is_some_and(|node| node.incarnation != from_incarnation) {
            let reason = format!(
                "{own} knows n{from} under another incarnation: its directory was wiped or replaced after it joined; \
                 remove the old member from the group and add this one as a new member"
            );
            return Verdict::Refuse(Refusal { reason, replaced: true });
        }
        let founder = wire::incarnation(&hello.founder);
        if let Some((ours, theirs)) = self.durable.founder().zip(founder)
            && ours != theirs
        {
            return refuse(another_group(&own, from));
        }
        if hello.purpose() == Purpose::Probe {
            if !self.durable.joined() && !hello.joined && hello.slots != self.slots {
                return refuse(format!(
                    "dLegerPeers of {own} names the slots {:?}, those of n{from} {:?}",
                    self.slots, hello.slots
                ));
            }
            return Verdict::Welcome;
        }
        if self.durable.joined() {
            if members && known.is_none() {
                return refuse(format!("n{from} is not a member of the group of {own}"));
            }
            return Verdict::Welcome;
        }
        if hello.joined && to_incarnation.is_some() {
            return Verdict::Join { founder };
        }
        refuse(format!("{own} is not part of its group yet"))
    }
}

/// Two processes of one slot, say, have each initialised a group of this name: their logs begin with different entries
/// under the same id, so members of the one must not take part in the other.
pub(crate) fn another_group(own: &str, from: u32) -> String {
    format!(
        "{own} joined a group that another member founded than the group of n{from}: two groups of this name were \
         initialised, and one of them has to be removed with its directories"
    )
}

/// The answer to a Hello.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Welcome,
    /// Welcome, and from now on this member is part of the group that `founder` initialised: the sender's log names
    /// it by its incarnation.
    Join {
        founder: Option<u128>,
    },
    Refuse(Refusal),
}

#[cfg(test)]
pub(crate) mod tests {
    use raftmq_sys::RealDisk;

    use super::*;
    use crate::hard_state::{HardState, HardStateFile};

    pub(crate) fn identity(slot: u16, incarnation: u128, joined: bool) -> (tempfile::TempDir, Identity) {
        let directory = tempfile::tempdir().unwrap();
        let state = HardState {
            incarnation,
            node: u64::from(slot),
            slot,
            cluster: "c".to_owned(),
            group: "g".to_owned(),
            joined,
            founder: None,
            vote: None,
            purged: None,
            membership: None,
        };
        let file = HardStateFile::create(&RealDisk::new(), directory.path(), state).unwrap();
        let identity = Identity {
            cluster: "c".to_owned(),
            group: "g".to_owned(),
            slot,
            incarnation,
            segment_bytes: 1024,
            slots: vec![0, 1, 2],
            durable: Arc::new(Durable::new(file)),
        };
        (directory, identity)
    }

    fn node(slot: u16, incarnation: u128) -> BrokerNode {
        BrokerNode { incarnation, address: String::new(), slot }
    }

    fn reason(verdict: Verdict) -> String {
        match verdict {
            Verdict::Refuse(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_of_one_group_welcome_each_other() {
        let (_a, zero) = identity(0, 100, true);
        let (_b, one) = identity(1, 101, true);
        let hello = zero.hello(1, Some(101), Purpose::Append);
        assert_eq!(one.judge(&hello, Some(&node(0, 100)), true), Verdict::Welcome);
        assert_eq!(one.judge(&hello, None, false), Verdict::Welcome);
        assert!(reason(one.judge(&hello, None, true)).contains("not a member"));
    }

    #[test]
    fn strangers_are_refused_with_the_difference() {
        let (_a, mut zero) = identity(0, 100, true);
        let (_b, one) = identity(1, 101, true);
        zero.cluster = "other".to_owned();
        assert!(reason(one.judge(&zero.hello(1, None, Purpose::Probe), None, false)).contains("cluster other"));
        zero.cluster = "c".to_owned();
        zero.segment_bytes = 2048;
        assert!(reason(one.judge(&zero.hello(1, None, Purpose::Probe), None, false)).contains("2048"));
        zero.segment_bytes = 1024;
        assert!(reason(one.judge(&zero.hello(2, None, Purpose::Probe), None, false)).contains("looks for n2"));
        let mut hello = zero.hello(1, None, Purpose::Probe);
        hello.format = 9;
        assert!(reason(one.judge(&hello, None, false)).contains("format"));
    }

    #[test]
    fn an_empty_member_joins_only_a_group_that_names_its_incarnation() {
        let (_a, zero) = identity(0, 100, true);
        let (_b, one) = identity(1, 101, false);
        assert_eq!(
            one.judge(&zero.hello(1, Some(101), Purpose::Control), None, false),
            Verdict::Join { founder: None }
        );
        assert!(reason(one.judge(&zero.hello(1, Some(7), Purpose::Control), None, false)).contains("wiped"));
        assert!(reason(one.judge(&zero.hello(1, None, Purpose::Control), None, false)).contains("not part"));
        assert_eq!(one.judge(&zero.hello(1, None, Purpose::Probe), None, false), Verdict::Welcome);
    }

    #[test]
    fn members_that_disagree_about_the_group_do_not_form_it() {
        let (_a, mut zero) = identity(0, 100, false);
        let (_b, one) = identity(1, 101, false);
        assert_eq!(one.judge(&zero.hello(1, None, Purpose::Probe), None, false), Verdict::Welcome);
        zero.slots = vec![0, 1];
        assert!(reason(one.judge(&zero.hello(1, None, Purpose::Probe), None, false)).contains("[0, 1]"));
    }

    #[test]
    fn who_joined_one_group_is_refused_by_another_of_the_same_name() {
        let (_a, zero) = identity(0, 100, true);
        let (_b, twin) = identity(0, 200, true);
        let (_c, one) = identity(1, 101, true);
        let (_d, two) = identity(2, 102, false);
        let founded = |identity: &Identity, founder| {
            identity.durable.update(|state| state.founder = Some(founder)).unwrap();
        };
        founded(&zero, 100);
        founded(&twin, 200);
        founded(&one, 100);
        // No membership is in any log yet, so only the founder tells them apart.
        for purpose in [Purpose::Probe, Purpose::Control, Purpose::Append] {
            let incarnation = Some(101).filter(|_| purpose != Purpose::Probe);
            let refused = reason(one.judge(&twin.hello(1, incarnation, purpose), None, false));
            assert!(refused.contains("two groups of this name"), "{refused}");
            assert_eq!(one.judge(&zero.hello(1, incarnation, purpose), None, false), Verdict::Welcome);
        }
        let join = two.judge(&twin.hello(2, Some(102), Purpose::Control), None, false);
        assert_eq!(join, Verdict::Join { founder: Some(200) });
        two.durable.update(|state| (state.joined, state.founder) = (true, Some(200))).unwrap();
        // The third member has the same incarnation in both groups, and is refused all the same.
        assert!(reason(one.judge(&two.hello(1, Some(101), Purpose::Append), None, false)).contains("two groups"));
    }

    #[test]
    fn a_wiped_member_is_told_so() {
        let (_a, wiped) = identity(0, 555, false);
        let (_b, one) = identity(1, 101, true);
        let Verdict::Refuse(refusal) = one.judge(&wiped.hello(1, None, Purpose::Probe), Some(&node(0, 100)), true)
        else {
            panic!("welcomed");
        };
        assert!(refusal.replaced);
        assert!(refusal.reason.contains("another incarnation"), "{}", refusal.reason);
    }
}
