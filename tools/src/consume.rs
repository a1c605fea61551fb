//! `raftmq consume`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use raftmq_client::{Batch, ConsumeFrom, PushConsumer, PushOptions, ReceivedMessage};
use tokio::time::Instant;

use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;
use crate::java_format;
use crate::live_line::LiveLine;
use crate::runtime::interrupted;

/// Joins a consumer group and prints what comes, until Ctrl-C.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  raftmq consume -n 127.0.0.1:9876 -t TopicTest -g my_group
  raftmq consume -n 127.0.0.1:9876 -t TopicTest -g my_group --tags 'TagA || TagB' --count 10
  raftmq consume -n 127.0.0.1:9876 -t Load -g load --print none --idle 5
A group goes on where it was; --from is for a group that has never been in a queue.")]
pub struct ConsumeArgs {
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Topic; one that does not exist yet is waited for
    #[arg(short = 't', long)]
    topic: String,
    /// Consumer group
    #[arg(short = 'g', long, default_value = "raftmq_consume")]
    group: String,
    /// Tags to take, `a || b`, or `*` for all
    #[arg(long, default_value = "*")]
    tags: String,
    /// Where a new group starts: first, last, or milliseconds since 1970
    #[arg(long, default_value = "first", value_parser = parse_from)]
    from: ConsumeFrom,
    /// End after this many messages
    #[arg(short = 'c', long)]
    count: Option<u64>,
    /// End when nothing came for this many seconds
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Messages per second at most
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// What to print of each message
    #[arg(long, value_enum, default_value_t = Print::Line)]
    print: Print,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Print {
    /// A line of progress and a summary only
    None,
    /// Queue, offset, tag, keys and the body as text, with tabs between
    Line,
    /// As RocketMQ's quick-start consumer prints it
    Java,
}

fn parse_from(text: &str) -> Result<ConsumeFrom, String> {
    match text {
        "first" => Ok(ConsumeFrom::First),
        "last" => Ok(ConsumeFrom::Last),
        _ => text.parse().map(ConsumeFrom::Timestamp).map_err(|_| "not first, last or a number".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: ConsumeArgs) -> ExitCode {
    // The signal is handled within: what was printed is committed before the end.
    crate::runtime::run_to_end(consume(args))
}

async fn consume(args: ConsumeArgs) -> Result<(), ToolError> {
    let instance = args.cluster.start()?;
    let options =
        PushOptions { tags: args.tags.clone(), from: args.from, ..PushOptions::new(&args.group, &args.topic) };
    let mut consumer = PushConsumer::start(&instance, options).await?;
    if args.print == Print::Java {
        println!("Consumer Started.");
    }
    let mut report = Report { args, live: LiveLine::new(), start: Instant::now(), taken: 0, shown: 0 };
    let outcome = tokio::select! {
        outcome = report.take_all(&mut consumer) => outcome,
        stopped = interrupted() => stopped,
    };
    consumer.close().await;
    report.finish();
    outcome
}

struct Report {
    args: ConsumeArgs,
    live: LiveLine,
    start: Instant,
    taken: u64,
    shown: u64,
}

impl Report {
    async fn take_all(&mut self, consumer: &mut PushConsumer) -> Result<(), ToolError> {
        let mut tick = tokio::time::interval(self.live.period());
        tick.reset();
        let mut last_message = Instant::now();
        loop {
            if self.is_full() || self.args.idle.is_some_and(|idle| last_message.elapsed() >= Duration::from_secs(idle))
            {
                return Ok(());
            }
            tokio::select! {
                batch = consumer.next() => {
                    let Some(batch) = batch else {
                        return Err(ToolError::Failed("the consumer ended by itself".to_owned()));
                    };
                    if !batch.messages.is_empty() {
                        last_message = Instant::now();
                    }
                    consumer.done(&self.take(batch).await);
                }
                _ = tick.tick() => self.show(tick.period()),
            }
        }
    }

    /// Prints a batch. Gives back what of it counts as consumed.
    async fn take(&mut self, mut batch: Batch) -> Batch {
        for message in &batch.messages {
            if let Some(rate) = self.args.rate {
                tokio::time::sleep_until(self.start + Duration::from_secs_f64(self.taken as f64 / f64::from(rate)))
                    .await;
            }
            self.print(message);
            self.taken += 1;
            if self.is_full() {
                // The rest is for whoever comes next.
                batch.next_offset.0 = message.queue_offset.0 + 1;
                break;
            }
        }
        batch
    }

    fn is_full(&self) -> bool {
        self.args.count.is_some_and(|count| self.taken >= count)
    }

    fn print(&mut self, message: &ReceivedMessage) {
        match self.args.print {
            Print::None => {}
            Print::Line => self.live.say(&line(message)),
            Print::Java => {
                let text = java_format::message(message);
                self.live.say(&format!("ConsumeMessageThread_1 Receive New Messages: [{text}] "));
            }
        }
    }

    fn show(&mut self, period: Duration) {
        if self.args.print == Print::None {
            let rate = (self.taken - self.shown) as f64 / period.as_secs_f64();
            self.live.show(&format!("{} messages, {rate:.0}/s", self.taken));
            self.shown = self.taken;
        }
    }

    fn finish(mut self) {
        if self.args.print != Print::Java {
            let seconds = self.start.elapsed().as_secs_f64();
            // On stderr: stdout may go to a program that reads messages.
            if self.args.print == Print::None {
                self.live.say(&format!("{} messages in {seconds:.2} s", self.taken));
            } else {
                eprintln!("{} messages in {seconds:.2} s", self.taken);
            }
        }
    }
}

fn line(message: &ReceivedMessage) -> String {
    let queue = &message.queue;
    format!(
        "{}:{}\t{}\t{}\t{}\t{}",
        queue.broker_name,
        queue.queue_id,
        message.queue_offset,
        message.tag().unwrap_or("-"),
        message.keys().unwrap_or("-"),
        String::from_utf8_lossy(&message.body).escape_debug(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_points_parse() {
        assert_eq!(parse_from("first"), Ok(ConsumeFrom::First));
        assert_eq!(parse_from("1700000000000"), Ok(ConsumeFrom::Timestamp(1_700_000_000_000)));
        assert!(parse_from("yesterday").is_err());
    }
}
