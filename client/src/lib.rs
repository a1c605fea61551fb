//! The client of a RocketMQ cluster over the remoting protocol: [`Producer`], [`PullConsumer`], [`PushConsumer`] and
//! [`Admin`], which share the connections and routes of a [`ClientInstance`].

mod admin;
mod answer;
mod broker_offsets;
mod config;
mod connections;
mod error;
mod heartbeat;
mod instance;
mod message;
mod name_servers;
mod producer;
mod pull;
mod pull_consumer;
mod push_consumer;
mod rebalance;
mod retry;
mod route_cache;
mod send_result;
mod topic_route;
mod unique_id;

pub use admin::Admin;
pub use config::ClientConfig;
pub use error::ClientError;
pub use instance::ClientInstance;
pub use message::{Message, ReceivedMessage};
pub use producer::{Producer, ProducerOptions};
pub use pull::{PullRequest, PullResult, PullStatus};
pub use pull_consumer::PullConsumer;
pub use push_consumer::{Batch, ConsumeFrom, PushConsumer, PushOptions};
pub use rebalance::allocate_averagely;
pub use send_result::{SendError, SendResult, SendStatus};
pub use topic_route::TopicRoute;
