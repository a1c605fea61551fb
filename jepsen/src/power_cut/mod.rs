//! Real power cuts: `EXT4_IOC_SHUTDOWN` without a journal flush drops the dirty page cache and the uncommitted
//! journal of a loop-mounted ext4, as losing power does. What the kernel had written back by then survives, and no
//! volatile cache of a drive is modelled; the simulated disk of the store's crash tests covers the rest.

mod image;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod story;
pub(crate) mod writer;

use std::error::Error;
use std::fmt;

use clap::ValueEnum;

use image::Image;
use story::Story;

/// Which store is put to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Classic,
    Raft,
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Mode::Classic => "classic",
            Mode::Raft => "raft",
        })
    }
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of power cuts.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// Chooses moments and sizes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Negative control: acknowledge without a flush. The command then succeeds only if it finds losses.
    #[arg(long)]
    control: bool,
}

/// Errors end the process with one line; nobody handles them by kind.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs all power cuts and prints what was found; an error if anything acknowledged was lost.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    image::check_privileges()?;
    let folder = tempfile::Builder::new().prefix("raftmq-power-cut").tempdir()?;
    let (mut acknowledged, mut lost) = (0, 0);
    for run in 0..arguments.runs {
        let image = Image::create(folder.path(), run)?;
        let story = Story::choose(arguments.seed, run, arguments.control);
        let outcome = story.tell(&image).map_err(|error| format!("run {run} ({story}): {error}"))?;
        println!("run {run}: {story}: {outcome}");
        acknowledged += outcome.acknowledged;
        lost += outcome.lost.len();
        image.remove()?;
    }
    let runs = arguments.runs;
    println!("{runs} power cuts on ext4: {acknowledged} records acknowledged, {lost} lost");
    match (arguments.control, lost) {
        (false, 0) => Ok(()),
        (false, lost) => Err(format!("{lost} acknowledged records were lost").into()),
        (true, 0) => Err("the control lost nothing: this machine's cuts prove nothing".into()),
        (true, _) => Ok(()),
    }
}
