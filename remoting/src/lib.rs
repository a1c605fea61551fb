//! RocketMQ's remoting protocol: frames, commands with two header forms, typed headers and bodies; above them thin
//! tokio connections, a server and a client.
//!
//! Nothing here knows what a request means. The pure parts take bytes and return values; only [`Server`],
//! [`Client`] and [`Session`] touch sockets.

mod frame;

mod codec;
mod command;
mod fields;
mod language;
mod reply;

pub mod request_code;
pub mod response_code;

pub mod body;
pub mod header;

mod client;
mod connection;
mod inbound;
mod metrics;
mod outbound;
mod server;
mod session;

pub use client::{Client, ConnectError};
pub use codec::{Codec, HeaderError};
pub use command::{RemotingCommand, RequestMeta, VERSION};
pub use connection::RequestProcessor;
pub use fields::{ExtFields, FieldValue};
pub use frame::{DecodeError, Frame, FrameDecoder, FrameError, MAX_FRAME_BYTES};
pub use language::Language;
pub use reply::ReplyBuffer;
pub use server::{BindError, ReservedAddress, Server, ServerConfig};
pub use session::{ClientIdentity, InvokeError, ReplySink, Session};
