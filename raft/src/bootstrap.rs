//! The first boot of a group. An empty directory may be a new member's or a wiped one's, and only the others know:
//! so it neither initialises nor votes until every configured peer has said that it is empty too. Then the lowest
//! slot initialises; the others join when a member whose log names them by their incarnation calls.
//!
//! Every member remembers who initialised the group that it joined, the founder, and refuses members of a group of
//! another founder: two processes of the lowest slot, started by mistake, may both find everybody empty.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::config::Peer;
use crate::handshake::{DialError, Dialer};
use crate::membership::BrokerNode;
use crate::server::{PeerServer, Raft};
use crate::wire::{self, Purpose};

/// Between two rounds of questions to the peers.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Every so many rounds the log says who is missing.
const ROUNDS_PER_REPORT: u32 = 100;

pub(crate) struct Bootstrap {
    pub(crate) dialer: Dialer,
    pub(crate) server: Arc<PeerServer>,
    pub(crate) raft: Raft,
    pub(crate) peers: Vec<Peer>,
    /// The log and the vote are empty: whatever was begun here, nobody can have seen it.
    pub(crate) blank: bool,
}

/// What the peers said in one round.
struct Round {
    /// The incarnations of those that are not part of a group, by slot.
    empty: BTreeMap<u16, u128>,
    /// Why the round is not complete.
    missing: Vec<String>,
}

impl Bootstrap {
    /// Returns once this member is part of the group and its Raft core runs. `Err` is for good: this directory must
    /// not take part.
    pub(crate) async fn run(self) -> Result<(), String> {
        let own = self.dialer.identity.slot;
        let initialises = self.blank && self.peers.iter().all(|peer| peer.slot >= own);
        let mut rounds = 0;
        while initialises || !self.dialer.identity.durable.joined() {
            let joined = self.server.joined.notified();
            let round = self.ask_all().await?;
            if initialises && round.missing.is_empty() {
                return self.initialise(round.empty).await;
            }
            if rounds % ROUNDS_PER_REPORT == ROUNDS_PER_REPORT - 1 {
                let group = &self.dialer.identity.group;
                tracing::warn!(%group, slot = own, waits_for = round.missing.join("; "), "first boot is not complete");
            }
            rounds += 1;
            // Either way the next round looks again.
            let _ = tokio::time::timeout(ROUND_PAUSE, joined).await;
        }
        self.raft.run();
        Ok(())
    }

    async fn ask_all(&self) -> Result<Round, String> {
        let identity = &self.dialer.identity;
        let others = self.peers.iter().filter(|peer| peer.slot != identity.slot);
        let answers =
            join_all(others.map(|peer| async move {
                (peer, self.dialer.dial(&peer.address, peer.slot, None, Purpose::Probe).await)
            }));
        let mut round = Round { empty: BTreeMap::from([(identity.slot, identity.incarnation)]), missing: Vec::new() };
        for (peer, answer) in answers.await {
            match answer {
                Ok((_, welcome)) => match wire::incarnation(&welcome.incarnation) {
                    Some(incarnation) if !welcome.joined => {
                        round.empty.insert(peer.slot, incarnation);
                    }
                    Some(_) => round.missing.push(format!("n{} is part of a group already", peer.slot)),
                    None => round.missing.push(format!("n{} sent a malformed incarnation", peer.slot)),
                },
                Err(DialError::Refused { reason, replaced: true, .. }) => return Err(reason),
                Err(error) => round.missing.push(format!("n{}: {error}", peer.slot)),
            }
        }
        Ok(round)
    }

    /// `joined` is set first: from the moment on that others may hear of the group, this member must be part of it.
    /// A crash in between leaves a blank log, and the next start asks all peers again.
    async fn initialise(&self, incarnations: BTreeMap<u16, u128>) -> Result<(), String> {
        let durable = &self.dialer.identity.durable;
        let founder = self.dialer.identity.incarnation;
        let joined = durable.update_on(&*self.server.spawn, move |state| {
            state.joined = true;
            state.founder = Some(founder);
        });
        let joined = joined.await;
        joined.map_err(|error| error.to_string())?;
        let members: BTreeMap<u64, BrokerNode> = self
            .peers
            .iter()
            .filter_map(|peer| {
                let incarnation = *incarnations.get(&peer.slot)?;
                let node = BrokerNode { incarnation, address: peer.address.clone(), slot: peer.slot };
                Some((u64::from(peer.slot), node))
            })
            .collect();
        tracing::info!(group = %self.dialer.identity.group, members = members.len(), "initialises the group");
        self.raft.run();
        self.raft.initialize(members).await.map_err(|error| format!("initialise: {error}"))
    }
}
