//! Results of rounds as JSON lines, so that a run that was stopped goes on where it was.
#![expect(clippy::disallowed_methods, reason = "appends the results of a test to a file")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FailoverError;

/// One cluster from its start to the check of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Seconds since 1970 at its end.
    pub(crate) ended_at: u64,
    pub(crate) seed: u64,
    pub(crate) client: String,
    pub(crate) flush: String,
    pub(crate) acknowledged: usize,
    /// Sends without an acknowledgement: refused, or of unknown outcome.
    pub(crate) failed: usize,
    /// Deliveries to the push consumer, repeated ones included.
    pub(crate) delivered: usize,
    pub(crate) committed_offsets_seen: usize,
    /// Bytes of commitlog that were equal on all members.
    pub(crate) equal_bytes: u64,
    pub(crate) kills: Vec<Kill>,
    /// Empty when every property held.
    pub(crate) failures: Vec<String>,
}

/// One kill of a leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kill {
    pub(crate) member: usize,
    pub(crate) new_leader: usize,
    /// Longest time without an acknowledged send between the kill and the member's having caught up.
    pub(crate) gap_ms: f64,
    /// From its restart until it had what the leader had.
    pub(crate) catch_up_ms: f64,
}

impl Round {
    pub(crate) fn summary(&self) -> String {
        let gaps: Vec<String> = self.kills.iter().map(|kill| format!("{:.0}", kill.gap_ms)).collect();
        format!(
            "{}: {} kills, gaps [{}] ms, {} acknowledged, {} not, {} delivered, {} offsets seen, {} MiB equal on all members",
            if self.failures.is_empty() { "ok" } else { "FAILED" },
            self.kills.len(),
            gaps.join(" "),
            self.acknowledged,
            self.failed,
            self.delivered,
            self.committed_offsets_seen,
            self.equal_bytes >> 20
        )
    }
}

/// All rounds so far.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// Kept in memory only if there is none.
    path: Option<PathBuf>,
    rounds: Vec<Round>,
}

impl Evidence {
    /// Reads what is there; a missing file is empty.
    pub(crate) fn open(path: Option<&Path>) -> Result<Evidence, FailoverError> {
        let Some(path) = path else { return Ok(Evidence { path: None, rounds: Vec::new() }) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(FailoverError::Io { path: path.to_owned(), source }),
        };
        let mut rounds = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let bad = |source| FailoverError::Evidence { path: path.to_owned(), line: index + 1, source };
            rounds.push(serde_json::from_str(line).map_err(bad)?);
        }
        Ok(Evidence { path: Some(path.to_owned()), rounds })
    }

    pub(crate) fn append(&mut self, round: Round) -> Result<(), FailoverError> {
        if let Some(path) = &self.path {
            append_line(path, &round).map_err(|source| FailoverError::Io { path: path.clone(), source })?;
        }
        self.rounds.push(round);
        Ok(())
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Kills of the rounds in which every property held.
    pub(crate) fn kills(&self) -> usize {
        self.good().map(|round| round.kills.len()).sum()
    }

    pub(crate) fn gaps_ms(&self) -> Vec<f64> {
        self.good().flat_map(|round| round.kills.iter().map(|kill| kill.gap_ms)).collect()
    }

    fn good(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(|round| round.failures.is_empty())
    }
}

fn append_line(path: &Path, round: &Round) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(round)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(gap_ms: f64, failures: &[&str]) -> Round {
        Round {
            ended_at: 1,
            seed: 2,
            client: "4.9.8".into(),
            flush: "SYNC_FLUSH".into(),
            acknowledged: 3,
            failed: 4,
            delivered: 5,
            committed_offsets_seen: 6,
            equal_bytes: 7,
            kills: vec![Kill { member: 0, new_leader: 1, gap_ms, catch_up_ms: 9.0 }],
            failures: failures.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn a_second_run_counts_the_good_rounds_of_the_first() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("deep/evidence.jsonl");
        let mut first = Evidence::open(Some(&path)).expect("nothing there yet");
        first.append(round(400.0, &[])).expect("appends");
        first.append(round(500.0, &["a message is lost"])).expect("appends");
        let second = Evidence::open(Some(&path)).expect("opens");
        assert_eq!((second.rounds(), second.kills(), second.gaps_ms()), (2, 1, vec![400.0]));
    }
}
