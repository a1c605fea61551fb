//! Values of the RocketMQ protocol and stored format that more than one crate needs. No I/O, no clock, no async.

pub mod command_record;
pub mod hosts;
pub mod message;
pub mod message_codec;
pub mod message_id;
pub mod offset;
pub mod permission;
pub mod properties;
pub mod queue;
pub mod route;
pub mod subscription;
pub mod sys_flag;
pub mod tags;
pub mod topic;
