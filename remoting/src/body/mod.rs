//! Bodies that are JSON, and the dialect that Java's fastjson reads and writes.

mod broker;
pub mod fastjson;
mod heartbeat;
mod lenient;
pub mod lenient_json;
mod lists;
mod register_broker;

pub use broker::*;
pub use heartbeat::*;
pub use lists::*;
pub use register_broker::*;

use serde::de::DeserializeOwned;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("body is not JSON: {0}")]
    Json(#[from] lenient_json::ParseError),
    #[error("body: {0}")]
    Shape(#[from] serde_json::Error),
    #[error("compressed body: {0}")]
    Inflate(#[from] std::io::Error),
    #[error("compressed body inflates to more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("compressed body: {what} at byte {at}")]
    Layout { what: &'static str, at: usize },
}

/// Reads a body of any dialect: see [`lenient_json`]; numbers may be strings and the other way round, enums names or
/// ordinals, unknown fields are ignored.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    Ok(lenient::from_value(lenient_json::parse(body)?)?)
}

/// A body type: read leniently, written byte for byte as Java writes it.
macro_rules! json_body {
    ($($body:ty),* $(,)?) => {$(
        impl $body {
            /// Reads the body as any client writes it.
            pub fn parse(body: &[u8]) -> Result<Self, $crate::body::BodyError> {
                $crate::body::parse(body)
            }

            /// The body as Java's fastjson writes it.
            pub fn to_json(&self) -> Vec<u8> {
                $crate::body::fastjson::to_vec(self)
            }
        }
    )*};
}
pub(crate) use json_body;
