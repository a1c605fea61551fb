//! Properties files as RocketMQ reads them, and one declaration per program of the keys it knows.
//!
//! A program lists its fields once with [`config!`]: RocketMQ's key, Rust field, default, range, whether a change
//! takes effect at once, and the doc. From that list come parsing with file, line and nearest key, the dumps behind
//! `-p` and `-m`, and edits of a file in place. Nothing here touches a file; callers bring the text.

mod declare;
mod field;
mod load;
mod nearest;
pub mod properties;
pub mod rocketmq_keys;
mod value;

pub use field::{Config, ConfigField, Reload, SetError, field, render_all, render_important};
pub use load::{ConfigError, ConfigErrors, Loaded, parse};
pub use value::{ConfigValue, Kind};
