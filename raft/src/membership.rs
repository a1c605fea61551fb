//! Members of a group, and their stored form: the protobuf message `Membership`, written by us field by field.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::type_config::Membership;
use crate::wire;

/// A member as the membership in the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BrokerNode {
    /// Random, made when the member's directory was: tells a wiped member from the one that the group knows.
    pub(crate) incarnation: u128,
    /// `host:port` of its Raft listener.
    pub(crate) address: String,
    pub(crate) slot: u16,
}

/// A membership that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("membership: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("membership: slot {0} is above 65535")]
    Slot(u32),
    #[error("membership: an incarnation has {0} bytes instead of 16")]
    Incarnation(usize),
    #[error("membership: {0}")]
    Invalid(String),
}

/// The form in which a membership is stored and sent; equal memberships give equal bytes.
pub(crate) fn encode(membership: &Membership) -> Vec<u8> {
    let configs = membership.get_joint_config().iter();
    let message = wire::Membership {
        configs: configs.map(|voters| wire::Voters { nodes: voters.iter().copied().collect() }).collect(),
        members: membership
            .nodes()
            .map(|(node, broker)| wire::Member {
                node: *node,
                incarnation: wire::incarnation_bytes(broker.incarnation),
                address: broker.address.clone(),
                slot: u32::from(broker.slot),
            })
            .collect(),
    };
    message.encode_to_vec()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Membership, DecodeError> {
    let message = wire::Membership::decode(bytes)?;
    let configs: Vec<BTreeSet<u64>> =
        message.configs.into_iter().map(|voters| voters.nodes.into_iter().collect()).collect();
    let mut nodes = BTreeMap::new();
    for member in message.members {
        let incarnation =
            wire::incarnation(&member.incarnation).ok_or(DecodeError::Incarnation(member.incarnation.len()))?;
        let slot = u16::try_from(member.slot).map_err(|_| DecodeError::Slot(member.slot))?;
        nodes.insert(member.node, BrokerNode { incarnation, address: member.address, slot });
    }
    Membership::new(configs, nodes).map_err(|error| DecodeError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_keeps_its_golden_bytes() {
        let nodes = BTreeMap::from([(
            1,
            BrokerNode { incarnation: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, address: "h:1".to_owned(), slot: 1 },
        )]);
        let membership = Membership::new(vec![BTreeSet::from([1])], nodes).unwrap();
        let bytes = encode(&membership);
        let golden = [
            0x0a, 0x03, 0x0a, 0x01, 0x01, // configs: one, of node 1
            0x12, 0x1b, 0x08, 0x01, // members: node 1
            0x12, 0x10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // its incarnation
            0x1a, 0x03, b'h', b':', b'1', 0x20, 0x01, // address, slot
        ];
        assert_eq!(bytes, golden);
        assert_eq!(decode(&bytes).unwrap(), membership);
    }

    #[test]
    fn a_truncated_membership_is_an_error() {
        let nodes = BTreeMap::from([(1, BrokerNode::default())]);
        let bytes = encode(&Membership::new(vec![BTreeSet::from([1])], nodes).unwrap());
        for length in 1..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}
