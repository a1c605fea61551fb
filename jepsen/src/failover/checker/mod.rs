//! What must hold over a history, one property per file; each yields what it found wrong, shortened.

mod acknowledged;
mod gap;
mod offset_never_back;
mod offsets_observed;

pub(crate) use acknowledged::{delivered, kept};
pub(crate) use gap::longest_ms;
pub(crate) use offset_never_back::never_back;
pub(crate) use offsets_observed::observed;

/// The first few of many findings.
const SHOWN: usize = 5;

fn shorten(what: &str, found: Vec<String>) -> Vec<String> {
    if found.is_empty() {
        return Vec::new();
    }
    let shown = found.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    vec![format!("{what} ({} times): {shown}", found.len())]
}
