use std::fmt;

use crate::field::{Config, ConfigField, SetError, field};
use crate::nearest::nearest;
use crate::properties::{self, Entry};

/// What a file says.
#[derive(Clone, Debug)]
pub struct Loaded<C> {
    pub config: C,
    /// One line each, for the log: keys without effect here, keys given twice.
    pub warnings: Vec<String>,
    /// The keys that the file sets, in RocketMQ's spelling.
    pub given: Vec<&'static str>,
}

impl<C> Loaded<C> {
    /// Whether the file, and not the default, decided this key.
    pub fn is_given(&self, key: &str) -> bool {
        self.given.contains(&key)
    }
}

/// What is wrong with a file, in one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{file}: byte {position} is not UTF-8")]
    Encoding { file: String, position: usize },
    #[error("{file}:{line}:{column}: {reason}")]
    Syntax { file: String, line: usize, column: usize, reason: String },
    #[error("{file}:{line}:{column}: unknown key `{key}`{}", nearest_text(.nearest))]
    UnknownKey { file: String, line: usize, column: usize, key: String, nearest: Option<String> },
    #[error("{file}:{line}: {key}: {reason}")]
    Value { file: String, line: usize, key: String, reason: String },
}

fn nearest_text(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |key| format!(", nearest key is `{key}`"))
}

/// Everything that is wrong with a file; never empty. Its text has a line per error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads a properties file on top of the defaults. `file` is its name in messages.
///
/// RocketMQ ignores unknown keys and numbers that do not parse; here both are errors, because a mistyped
/// `flushDiskType` costs data. Keys that RocketMQ knows and we have no use for are accepted with a warning.
pub fn parse<C: Config>(file: &str, content: &[u8]) -> Result<Loaded<C>, ConfigErrors> {
    let text = std::str::from_utf8(content).map_err(|error| {
        ConfigErrors(vec![ConfigError::Encoding { file: file.to_owned(), position: error.valid_up_to() }])
    })?;
    let entries = properties::parse(text).map_err(|error| {
        let (line, column, reason) = (error.line, error.column, error.reason);
        ConfigErrors(vec![ConfigError::Syntax { file: file.to_owned(), line, column, reason }])
    })?;
    let mut loaded = Loaded { config: C::default(), warnings: Vec::new(), given: Vec::new() };
    let mut errors = Vec::new();
    let mut first_lines: Vec<(&str, usize)> = Vec::new();
    for entry in &entries {
        let known = field::<C>(&entry.key);
        let key = known.map_or(entry.key.as_str(), |field| field.key);
        match first_lines.iter_mut().find(|(seen, _)| *seen == key) {
            Some((_, line)) => {
                let (now, before) = (entry.line, std::mem::replace(line, entry.line));
                loaded.warnings.push(format!("{file}:{now}: {key} is also in line {before}, this one counts"));
            }
            None => first_lines.push((key, entry.line)),
        }
        match apply(&mut loaded, file, entry, known) {
            Ok(()) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(loaded) } else { Err(ConfigErrors(errors)) }
}

fn apply<C: Config>(
    loaded: &mut Loaded<C>,
    file: &str,
    entry: &Entry,
    known: Option<&'static ConfigField>,
) -> Result<(), ConfigError> {
    let key = &entry.key;
    let Some(field) = known else {
        if is_accepted::<C>(key) {
            loaded.warnings.push(format!("{file}:{}: {key} is a key of RocketMQ without effect in RaftMQ", entry.line));
            return Ok(());
        }
        return Err(unknown_key::<C>(file, entry));
    };
    match loaded.config.set(field.key, &entry.value) {
        Ok(()) => {
            if !loaded.is_given(field.key) {
                loaded.given.push(field.key);
            }
            Ok(())
        }
        Err(SetError::UnknownKey) => Err(unknown_key::<C>(file, entry)),
        Err(SetError::Value(reason)) => {
            Err(ConfigError::Value { file: file.to_owned(), line: entry.line, key: key.clone(), reason })
        }
    }
}

fn accepted<C: Config>() -> impl Iterator<Item = &'static str> {
    C::ACCEPTED.iter().flat_map(|keys| keys.iter().copied())
}

fn is_accepted<C: Config>(key: &str) -> bool {
    accepted::<C>().any(|name| match name.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => key == name,
    })
}

fn unknown_key<C: Config>(file: &str, entry: &Entry) -> ConfigError {
    // Ours first: a typo is more likely in a key that does something.
    let nearest = nearest(&entry.key, C::FIELDS.iter().map(|field| field.key))
        .or_else(|| nearest(&entry.key, accepted::<C>().filter(|name| !name.ends_with('*'))))
        .map(str::to_owned);
    ConfigError::UnknownKey {
        file: file.to_owned(),
        line: entry.line,
        column: entry.column,
        key: entry.key.clone(),
        nearest,
    }
}
