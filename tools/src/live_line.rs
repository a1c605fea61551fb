use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// A line that is written over itself on a terminal, and once a second elsewhere. Lines that stay go through
/// [`LiveLine::say`].
pub(crate) struct LiveLine {
    is_terminal: bool,
    is_open: bool,
}

impl LiveLine {
    pub(crate) fn new() -> LiveLine {
        LiveLine { is_terminal: io::stdout().is_terminal(), is_open: false }
    }

    /// How often [`LiveLine::show`] should be called.
    pub(crate) fn period(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(200) } else { Duration::from_secs(1) }
    }

    pub(crate) fn show(&mut self, text: &str) {
        if self.is_terminal {
            // Erase to the end of the line: the last text may have been longer.
            print!("\r{text}\x1b[K");
            self.is_open = true;
            // Whoever closed the pipe does not want the rest.
            let _ = io::stdout().flush();
        } else {
            println!("{text}");
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        if self.is_open {
            print!("\r\x1b[K");
            self.is_open = false;
        }
        println!("{text}");
    }
}

impl Default for LiveLine {
    fn default() -> Self {
        LiveLine::new()
    }
}
