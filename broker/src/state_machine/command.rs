//! Changes of state as they lie in the log (docs/commands.md has the table of types and golden bytes).

use prost::Message;
use raftmq_model::command_record::{self, CommandRecord};
use raftmq_model::offset::QueueOffset;
use raftmq_model::subscription::SubscriptionGroupConfig;
use raftmq_model::topic::TopicConfig;

use super::wire::{GroupRecord, QueueOffsetRecord, TopicRecord};

const PUT_TOPIC: u16 = 0x0001;
const DELETE_TOPIC: u16 = 0x0002;
const PUT_GROUP: u16 = 0x0003;
const DELETE_GROUP: u16 = 0x0004;
const COMMIT_OFFSETS: u16 = 0x0005;
/// The only version of every type so far.
const VERSION: u16 = 1;

/// A change of state. Times are the leader's clock when it proposed, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Creates or replaces a topic. One `from_auto_create` does nothing if the topic is there: two sends may race to
    /// create it, and neither may undo what an operator did in between.
    PutTopic {
        config: TopicConfig,
        from_auto_create: bool,
        at_unix_ms: i64,
    },
    /// Deletes a topic; `ends` are the ends of its queues at this point of the log, where a topic of the same name
    /// goes on. They must be read when nothing is in flight to the topic.
    DeleteTopic {
        topic: String,
        ends: Vec<(i32, QueueOffset)>,
        at_unix_ms: i64,
    },
    /// Creates or replaces a subscription group; `from_auto_create` as for topics.
    PutGroup {
        config: SubscriptionGroupConfig,
        from_auto_create: bool,
        at_unix_ms: i64,
    },
    DeleteGroup {
        group: String,
        remove_offsets: bool,
        at_unix_ms: i64,
    },
    /// Overwrites consumer offsets, backwards too: an operator may reset them.
    CommitOffsets {
        commits: Vec<OffsetCommit>,
    },
}

/// The next message that a group wants of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    pub group: String,
    pub topic: String,
    pub queue_id: i32,
    pub offset: QueueOffset,
}

/// Why a command in the log cannot be applied. All of them stop apply: skipping would make replicas differ.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("command type {kind:#06x} version {version} is not known to this release; install a newer one")]
    Unknown { kind: u16, version: u16 },
    #[error("body of command type {kind:#06x} version {version}")]
    Body { kind: u16, version: u16, source: prost::DecodeError },
    #[error("command type {kind:#06x} version {version} lacks field {field}")]
    Missing { kind: u16, version: u16, field: &'static str },
    #[error("not a command record: {size_bytes} bytes")]
    NotARecord { size_bytes: usize },
}

#[derive(Clone, PartialEq, Message)]
struct PutTopicBody {
    #[prost(message, optional, tag = "1")]
    config: Option<TopicRecord>,
    #[prost(bool, tag = "2")]
    from_auto_create: bool,
    #[prost(int64, tag = "3")]
    at_unix_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct DeleteTopicBody {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(message, repeated, tag = "2")]
    ends: Vec<QueueOffsetRecord>,
    #[prost(int64, tag = "3")]
    at_unix_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct PutGroupBody {
    #[prost(message, optional, tag = "1")]
    config: Option<GroupRecord>,
    #[prost(bool, tag = "2")]
    from_auto_create: bool,
    #[prost(int64, tag = "3")]
    at_unix_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct DeleteGroupBody {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(bool, tag = "2")]
    remove_offsets: bool,
    #[prost(int64, tag = "3")]
    at_unix_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct CommitOffsetsBody {
    #[prost(message, repeated, tag = "1")]
    commits: Vec<OffsetCommitRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct OffsetCommitRecord {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    topic: String,
    #[prost(int32, tag = "3")]
    queue_id: i32,
    #[prost(uint64, tag = "4")]
    offset: u64,
}

impl Command {
    /// The whole command record, as it goes into a proposal.
    pub fn to_record(&self) -> Vec<u8> {
        let (kind, body) = match self.clone() {
            Command::PutTopic { config, from_auto_create, at_unix_ms } => {
                let config = Some(TopicRecord::from(&config));
                (PUT_TOPIC, PutTopicBody { config, from_auto_create, at_unix_ms }.encode_to_vec())
            }
            Command::DeleteTopic { topic, ends, at_unix_ms } => {
                let ends = ends.iter().map(|(queue_id, end)| QueueOffsetRecord { queue_id: *queue_id, offset: end.0 });
                let body = DeleteTopicBody { topic, ends: ends.collect(), at_unix_ms };
                (DELETE_TOPIC, body.encode_to_vec())
            }
            Command::PutGroup { config, from_auto_create, at_unix_ms } => {
                let config = Some(GroupRecord::from(&config));
                (PUT_GROUP, PutGroupBody { config, from_auto_create, at_unix_ms }.encode_to_vec())
            }
            Command::DeleteGroup { group, remove_offsets, at_unix_ms } => {
                (DELETE_GROUP, DeleteGroupBody { group, remove_offsets, at_unix_ms }.encode_to_vec())
            }
            Command::CommitOffsets { commits } => {
                let commits = commits.into_iter().map(|commit| OffsetCommitRecord {
                    group: commit.group,
                    topic: commit.topic,
                    queue_id: commit.queue_id,
                    offset: commit.offset.0,
                });
                (COMMIT_OFFSETS, CommitOffsetsBody { commits: commits.collect() }.encode_to_vec())
            }
        };
        let mut record = Vec::with_capacity(command_record::HEADER_BYTES + body.len());
        CommandRecord { kind, version: VERSION, body: &body }.encode(&mut record);
        record
    }

    /// Reads one whole command record.
    pub fn from_record(record: &[u8]) -> Result<Command, DecodeError> {
        let size_bytes = record.len();
        Command::decode(&command_record::decode(record).ok_or(DecodeError::NotARecord { size_bytes })?)
    }

    pub fn decode(record: &CommandRecord<'_>) -> Result<Command, DecodeError> {
        let (kind, version) = (record.kind, record.version);
        let broken = |source| DecodeError::Body { kind, version, source };
        let missing = |field| DecodeError::Missing { kind, version, field };
        Ok(match (kind, version) {
            (PUT_TOPIC, 1) => {
                let body = PutTopicBody::decode(record.body).map_err(broken)?;
                Command::PutTopic {
                    config: body.config.ok_or_else(|| missing("config"))?.into(),
                    from_auto_create: body.from_auto_create,
                    at_unix_ms: body.at_unix_ms,
                }
            }
            (DELETE_TOPIC, 1) => {
                let body = DeleteTopicBody::decode(record.body).map_err(broken)?;
                Command::DeleteTopic {
                    topic: body.topic,
                    ends: body.ends.iter().map(|end| (end.queue_id, QueueOffset(end.offset))).collect(),
                    at_unix_ms: body.at_unix_ms,
                }
            }
            (PUT_GROUP, 1) => {
                let body = PutGroupBody::decode(record.body).map_err(broken)?;
                Command::PutGroup {
                    config: body.config.ok_or_else(|| missing("config"))?.into(),
                    from_auto_create: body.from_auto_create,
                    at_unix_ms: body.at_unix_ms,
                }
            }
            (DELETE_GROUP, 1) => {
                let body = DeleteGroupBody::decode(record.body).map_err(broken)?;
                Command::DeleteGroup {
                    group: body.group,
                    remove_offsets: body.remove_offsets,
                    at_unix_ms: body.at_unix_ms,
                }
            }
            (COMMIT_OFFSETS, 1) => {
                let body = CommitOffsetsBody::decode(record.body).map_err(broken)?;
                let commits = body.commits.into_iter().map(|commit| OffsetCommit {
                    group: commit.group,
                    topic: commit.topic,
                    queue_id: commit.queue_id,
                    offset: QueueOffset(commit.offset),
                });
                Command::CommitOffsets { commits: commits.collect() }
            }
            _ => return Err(DecodeError::Unknown { kind, version }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Every line of the table "Golden bytes" in docs/commands.md.
    fn examples() -> Vec<(&'static str, Command)> {
        let mut config = TopicConfig::new("T", 8, 6);
        config.order = true;
        vec![
            ("PutTopic", Command::PutTopic { config, from_auto_create: true, at_unix_ms: 1_700_000_000_000 }),
            (
                "DeleteTopic",
                Command::DeleteTopic {
                    topic: "T".to_owned(),
                    ends: vec![(0, QueueOffset(5)), (1, QueueOffset(300))],
                    at_unix_ms: 1_700_000_000_000,
                },
            ),
            (
                "PutGroup",
                Command::PutGroup {
                    config: SubscriptionGroupConfig::new("cg"),
                    from_auto_create: false,
                    at_unix_ms: 1_700_000_000_000,
                },
            ),
            (
                "DeleteGroup",
                Command::DeleteGroup { group: "cg".to_owned(), remove_offsets: true, at_unix_ms: 1_700_000_000_000 },
            ),
            (
                "CommitOffsets",
                Command::CommitOffsets {
                    commits: vec![OffsetCommit {
                        group: "cg".to_owned(),
                        topic: "T".to_owned(),
                        queue_id: 3,
                        offset: QueueOffset(300),
                    }],
                },
            ),
        ]
    }

    #[test]
    fn records_have_the_golden_bytes_of_the_docs() {
        let docs = include_str!("../../../docs/commands.md");
        for (name, command) in examples() {
            let record = command.to_record();
            assert!(docs.contains(&format!("| {name} | `{}` |", hex(&record))), "{name}: {}", hex(&record));
            assert_eq!(Command::from_record(&record).unwrap(), command);
        }
    }

    #[test]
    fn unknown_types_and_versions_are_named() {
        for (kind, version) in [(0x0006, 1), (PUT_TOPIC, 2), (0x0051, 1)] {
            let error = Command::decode(&CommandRecord { kind, version, body: b"" }).unwrap_err();
            assert!(matches!(error, DecodeError::Unknown { .. }), "{error}");
            assert!(error.to_string().contains(&format!("{kind:#06x} version {version}")), "{error}");
        }
    }

    #[test]
    fn broken_bodies_are_errors() {
        for body in [&b"\xff"[..], b"", b"\x0a\x05ab"] {
            assert!(Command::decode(&CommandRecord { kind: PUT_TOPIC, version: 1, body }).is_err());
        }
        assert!(Command::from_record(b"short").is_err());
    }
}
