//! Results of rounds as JSON lines, so that a run that was stopped goes on where it was.
#![expect(clippy::disallowed_methods, reason = "appends the results of a test to a file")]

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FailoverError;

/// What is done to the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// `kill -9`, and a start.
    #[default]
    Kill,
    /// SIGSTOP for some seconds: it keeps its connections, and believes that it leads when it wakes.
    Pause,
}

/// One cluster from its start to the check of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Seconds since 1970 at its end.
    pub(crate) ended_at: u64,
    pub(crate) seed: u64,
    pub(crate) client: String,
    pub(crate) flush: String,
    #[serde(default)]
    pub(crate) fault: Fault,
    pub(crate) acknowledged: usize,
    /// Sends without an acknowledgement: refused, or of unknown outcome.
    pub(crate) failed: usize,
    /// Deliveries to the push consumer, repeated ones included.
    pub(crate) delivered: usize,
    pub(crate) committed_offsets_seen: usize,
    /// Questions for a committed offset without an answer; a dead or paused member gives none.
    #[serde(default)]
    pub(crate) offset_questions_unanswered: usize,
    /// Bytes of commitlog that were equal on all members.
    pub(crate) equal_bytes: u64,
    pub(crate) kills: Vec<Kill>,
    /// Empty when every property held.
    pub(crate) failures: Vec<String>,
}

/// One kill or pause of a leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kill {
    pub(crate) member: usize,
    pub(crate) new_leader: usize,
    /// Longest time without an acknowledged send between the fault and the first one after the member's having caught up.
    pub(crate) gap_ms: f64,
    /// The same for deliveries to the push consumer; older evidence does not have it.
    #[serde(default)]
    pub(crate) delivery_gap_ms: Option<f64>,
    /// Committed offsets that members told meanwhile.
    #[serde(default)]
    pub(crate) offsets_seen: usize,
    /// How long it was paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_ms: Option<f64>,
    /// From its restart, or its waking up, until it had what the leader had.
    pub(crate) catch_up_ms: f64,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Fault::Kill => "kill",
            Fault::Pause => "pause",
        })
    }
}

impl Round {
    pub(crate) fn summary(&self) -> String {
        let list = |gap_ms: fn(&Kill) -> f64| {
            self.kills.iter().map(|kill| format!("{:.0}", gap_ms(kill))).collect::<Vec<_>>().join(" ")
        };
        let deliveries = match self.kills.iter().any(|kill| kill.delivery_gap_ms.is_some()) {
            true => format!(", of deliveries [{}] ms", list(|kill| kill.delivery_gap_ms.unwrap_or(f64::NAN))),
            false => String::new(),
        };
        format!(
            "{}: client {}, {} {}s, gaps of sends [{}] ms{deliveries}, {} acknowledged, {} not, {} delivered, \
             {} offsets seen, {} questions for them unanswered, {} MiB equal on all members",
            if self.failures.is_empty() { "ok" } else { "FAILED" },
            self.client,
            self.kills.len(),
            self.fault,
            list(|kill| kill.gap_ms),
            self.acknowledged,
            self.failed,
            self.delivered,
            self.committed_offsets_seen,
            self.offset_questions_unanswered,
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

    /// The kills, or the pauses, of the rounds in which every property held.
    pub(crate) fn kills(&self, fault: Fault) -> impl Iterator<Item = &Kill> {
        let good = self.rounds.iter().filter(move |round| round.failures.is_empty() && round.fault == fault);
        good.flat_map(|round| &round.kills)
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
            fault: Fault::Kill,
            acknowledged: 3,
            failed: 4,
            delivered: 5,
            committed_offsets_seen: 6,
            offset_questions_unanswered: 1,
            equal_bytes: 7,
            kills: vec![Kill {
                member: 0,
                new_leader: 1,
                gap_ms,
                delivery_gap_ms: Some(10.0),
                offsets_seen: 11,
                paused_ms: None,
                catch_up_ms: 9.0,
            }],
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
        let gaps: Vec<f64> = second.kills(Fault::Kill).map(|kill| kill.gap_ms).collect();
        assert_eq!((second.rounds(), gaps, second.kills(Fault::Pause).count()), (2, vec![400.0], 0));
    }

    #[test]
    fn evidence_from_before_there_were_pauses_and_delivery_gaps_still_counts() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("evidence.jsonl");
        let line = r#"{"ended_at":1,"seed":2,"client":"4.9.8","flush":"SYNC_FLUSH","acknowledged":3,"failed":4,"delivered":5,"committed_offsets_seen":6,"equal_bytes":7,"kills":[{"member":0,"new_leader":1,"gap_ms":400.5,"catch_up_ms":9.0}],"failures":[]}"#;
        std::fs::write(&path, format!("{line}\n")).expect("a file");
        let evidence = Evidence::open(Some(&path)).expect("reads");
        let kills: Vec<_> =
            evidence.kills(Fault::Kill).map(|kill| (kill.gap_ms, kill.delivery_gap_ms, kill.paused_ms)).collect();
        assert_eq!(kills, [(400.5, None, None)]);
    }
}
