use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::value::Kind;

/// Whether a change of a field takes effect in a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// At once.
    Hot,
    /// At the next start.
    Restart,
}

/// One key of a program.
#[derive(Clone, Debug)]
pub struct ConfigField {
    /// RocketMQ's name of it, or ours in RocketMQ's style.
    pub key: &'static str,
    /// Other spellings that files in the wild have.
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    pub reload: Reload,
    /// Shown by `-m`.
    pub important: bool,
    /// Smallest and largest number allowed, in the field's unit.
    pub range: Option<RangeInclusive<i128>>,
    pub doc: &'static str,
}

/// Why a key was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("no such key")]
    UnknownKey,
    /// The text says what is wrong with the value.
    #[error("{0}")]
    Value(String),
}

/// A program's configuration; made by [`config!`](crate::config).
pub trait Config: Default {
    const FIELDS: &'static [ConfigField];

    /// Keys that RocketMQ's program reads and ours has no use for: accepted with a warning.
    const ACCEPTED: &'static [&'static [&'static str]];

    /// Sets the field of a key or alias from text.
    fn set(&mut self, key: &str, text: &str) -> Result<(), SetError>;

    /// The text of a key's value.
    fn get(&self, key: &str) -> Option<String>;
}

/// The field of a key or alias.
pub fn field<C: Config>(key: &str) -> Option<&'static ConfigField> {
    C::FIELDS.iter().find(|field| field.key == key || field.aliases.contains(&key))
}

/// All keys as `key=value` lines, sorted (option `-p`).
pub fn render_all<C: Config>(config: &C) -> String {
    render(config, |_| true)
}

/// The important keys as `key=value` lines, sorted (option `-m`).
pub fn render_important<C: Config>(config: &C) -> String {
    render(config, |field| field.important)
}

fn render<C: Config>(config: &C, wanted: impl Fn(&ConfigField) -> bool) -> String {
    let mut keys: Vec<&str> = C::FIELDS.iter().filter(|field| wanted(field)).map(|field| field.key).collect();
    keys.sort_unstable();
    let mut text = String::new();
    for key in keys {
        let _ = writeln!(text, "{key}={}", config.get(key).unwrap_or_default());
    }
    text
}
