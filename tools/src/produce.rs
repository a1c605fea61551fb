//! `raftmq produce`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use raftmq_client::{ClientInstance, Message, Producer, ProducerOptions, SendError, SendResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;
use crate::java_format;
use crate::latency::Latencies;
use crate::live_line::LiveLine;

/// Sends messages and waits for the answer to each.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  raftmq produce -n 127.0.0.1:9876 -t TopicTest --count 10 --print result
  raftmq produce -n 127.0.0.1:9876 -t Orders --body 'order {}' --tags paid --keys order-{}
  raftmq produce -n 127.0.0.1:9876 -t Load --count 100000 --size 1024 --in-flight 32
  raftmq produce -n 127.0.0.1:9876 -t Load --count 6000 --rate 100")]
pub struct ProduceArgs {
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Topic; a new one is created if brokers allow it
    #[arg(short = 't', long)]
    topic: String,
    /// Producer group
    #[arg(short = 'g', long, default_value = "raftmq_produce")]
    group: String,
    /// How many messages
    #[arg(short = 'c', long, default_value_t = 1)]
    count: u64,
    /// Bytes of each body, filled with letters; not together with --body
    #[arg(short = 's', long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "body")]
    size: u32,
    /// Text of each body; `{}` becomes the message's number
    #[arg(long)]
    body: Option<String>,
    /// Tag of each message
    #[arg(long, alias = "tag")]
    tags: Option<String>,
    /// Keys of each message; `{}` becomes its number
    #[arg(long, alias = "key")]
    keys: Option<String>,
    /// Messages per second at most; latency then counts from the moment a message was due
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Sends under way at the same time; 1 keeps the order within a queue
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// What to print of each message
    #[arg(long, value_enum, default_value_t = Print::None)]
    print: Print,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Print {
    /// A line of progress and a summary only
    None,
    /// Its SendResult, as RocketMQ's quick-start producer prints it
    Result,
}

/// Runs the command.
pub fn run(args: ProduceArgs) -> ExitCode {
    crate::runtime::run(produce(args))
}

struct Sent {
    latency: Duration,
    outcome: Result<SendResult, SendError>,
}

/// How long a sender waits after a failure, as RocketMQ's quick-start producer does.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

async fn produce(args: ProduceArgs) -> Result<(), ToolError> {
    let instance = args.cluster.start()?;
    let work = Arc::new(Work::new(&instance, args.clone()));
    // Tells at once when there is no name server or no broker.
    work.producer.queues(&args.topic).await?;
    let (sender, mut sent) = mpsc::channel(1024);
    for _ in 0..args.in_flight {
        tokio::spawn(Arc::clone(&work).send_all(sender.clone()));
    }
    drop(sender);
    let mut report = Report::new(args.print, work.start);
    let mut tick = tokio::time::interval(report.live.period());
    tick.reset();
    loop {
        tokio::select! {
            next = sent.recv() => match next {
                Some(sent) => report.add(sent),
                None => break,
            },
            _ = tick.tick() => report.show(),
        }
    }
    report.finish()
}

struct Work {
    args: ProduceArgs,
    producer: Producer,
    filler: Bytes,
    next: AtomicU64,
    start: Instant,
}

impl Work {
    fn new(instance: &ClientInstance, args: ProduceArgs) -> Work {
        let filler = (0..args.size).map(|at| b'a' + (at % 26) as u8).collect();
        let producer = Producer::new(instance, &args.group, ProducerOptions::default());
        Work { args, producer, filler, next: AtomicU64::new(0), start: Instant::now() }
    }

    /// Takes numbers until all are sent.
    async fn send_all(self: Arc<Self>, sent: mpsc::Sender<Sent>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.args.count {
                return;
            }
            let mut due = Instant::now();
            if let Some(rate) = self.args.rate {
                due = self.start + Duration::from_secs_f64(number as f64 / f64::from(rate));
                sleep_until(due).await;
            }
            let outcome = self.producer.send(&self.message(number)).await;
            let failed = outcome.is_err();
            if sent.send(Sent { latency: due.elapsed(), outcome }).await.is_err() {
                return;
            }
            if failed {
                sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    fn message(&self, number: u64) -> Message {
        let numbered = |text: &str| text.replace("{}", &number.to_string());
        let body = self.args.body.as_deref().map_or_else(|| self.filler.clone(), |body| numbered(body).into());
        let mut message = Message::new(self.args.topic.as_str(), body);
        if let Some(tag) = &self.args.tags {
            message = message.with_tag(tag);
        }
        if let Some(keys) = &self.args.keys {
            message = message.with_keys(&numbered(keys));
        }
        message
    }
}

struct Report {
    print: Print,
    live: LiveLine,
    start: Instant,
    latencies: Latencies,
    recent: Latencies,
    recent_count: u64,
    recent_since: Instant,
    stored: u64,
    failed: u64,
    last_failure: Option<SendError>,
}

impl Report {
    fn new(print: Print, start: Instant) -> Report {
        Report {
            print,
            live: LiveLine::new(),
            start,
            latencies: Latencies::new(),
            recent: Latencies::new(),
            recent_count: 0,
            recent_since: start,
            stored: 0,
            failed: 0,
            last_failure: None,
        }
    }

    fn add(&mut self, sent: Sent) {
        match sent.outcome {
            Ok(result) => {
                self.stored += 1;
                self.recent_count += 1;
                self.latencies.record(sent.latency);
                self.recent.record(sent.latency);
                if self.print == Print::Result {
                    self.live.say(&java_format::send_result(&result));
                }
            }
            Err(error) => {
                self.failed += 1;
                eprintln!("send failed: {error}");
                self.last_failure = Some(error);
            }
        }
    }

    fn show(&mut self) {
        if self.print != Print::None {
            return;
        }
        let rate = self.recent_count as f64 / self.recent_since.elapsed().as_secs_f64();
        let text = format!("{} stored, {rate:.0}/s, {}, {} failed", self.stored, self.recent.summary(), self.failed);
        self.live.show(&text);
        self.recent.clear();
        self.recent_count = 0;
        self.recent_since = Instant::now();
    }

    fn finish(mut self) -> Result<(), ToolError> {
        let seconds = self.start.elapsed().as_secs_f64();
        if self.print == Print::None {
            let rate = self.stored as f64 / seconds.max(f64::MIN_POSITIVE);
            let (stored, latencies, max) = (self.stored, self.latencies.summary(), self.latencies.max());
            self.live.say(&format!(
                "{stored} messages stored in {seconds:.2} s, {rate:.0}/s, {latencies}, max {:.2} ms",
                max.as_secs_f64() * 1000.0
            ));
        }
        match self.last_failure {
            None => Ok(()),
            Some(last) => Err(ToolError::Failed(format!("{} sends failed, the last one: {last}", self.failed))),
        }
    }
}
