//! Typed headers: the extension fields of one request or answer, decoded by one pass over them.
//!
//! Names on the wire are Java's field names. Unknown fields are ignored, the last of several equal names counts.

mod field;
mod namesrv;
mod offset;
mod pull_message;
mod send_message;
mod topic;

pub use field::FieldError;
pub use namesrv::*;
pub use offset::*;
pub use pull_message::*;
pub use send_message::*;
pub use topic::*;
