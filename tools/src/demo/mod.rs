//! `raftmq demo`: a group of three loses its leader while messages flow, and nothing acknowledged is lost.

mod check;
mod commit_logs;
mod ledger;
mod traffic;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use raftmq_client::{Admin, ClientConfig, ClientInstance, PullConsumer};
use raftmq_model::permission;
use raftmq_model::topic::TopicConfig;
use raftmq_sys::Seams;
use tokio::time::{Instant, sleep};

use self::check::Counts;
use self::traffic::Traffic;
use crate::error::ToolError;
use crate::live_line::LiveLine;
use crate::local_cluster::{ClusterSpec, LocalCluster, MemberPorts, find_leader, free_blocks};

/// Starts three members in a temporary folder, sends and consumes, kills the leader with -9, reads everything back and
/// checks every acknowledged message. Leaves nothing behind.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  raftmq demo
  raftmq demo --seconds 10 --keep /tmp/demo")]
pub struct DemoArgs {
    /// Seconds of traffic before the kill, and again after the restart
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Keep data and logs in this folder, which must be empty or new
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: DemoArgs) -> ExitCode {
    crate::runtime::run(demo(args))
}

const BROKER_NAME: &str = "demo-group";
const TOPIC: &str = "Demo";
const QUEUES: i32 = 4;
const GROUP: &str = "demo_consumer";
const MEMBERS: usize = 3;
/// Small, so that the demo takes little disk.
const SEGMENT_BYTES: u64 = 64 << 20;
/// How long the group may take for anything: an election, catching up, the first topic.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the killed member stays down at least.
const DOWN_TIME: Duration = Duration::from_secs(2);

async fn demo(args: DemoArgs) -> Result<(), ToolError> {
    let begin = Instant::now();
    let mut temporary = None;
    let folder = match &args.keep {
        Some(folder) => crate::folders::empty(folder)?,
        None => temporary.insert(crate::folders::temporary("raftmq-demo-")?).path().to_owned(),
    };
    let mut stage = Stage::set(folder)?;
    let outcome = stage.play(Duration::from_secs(args.seconds)).await;
    let stopped = stage.cluster.stop();
    if let Some(folder) = temporary {
        let path = folder.path().to_owned();
        folder.close().map_err(|source| ToolError::Io { path, source })?;
    }
    let summary = outcome?;
    stopped?;
    println!("\n{summary}");
    println!("All good, in {:.0} s.", begin.elapsed().as_secs_f64());
    Ok(())
}

/// The processes and our client.
struct Stage {
    cluster: LocalCluster,
    instance: ClientInstance,
    admin: Admin,
    live: LiveLine,
}

impl Stage {
    fn set(folder: PathBuf) -> Result<Stage, ToolError> {
        let seams = Seams::real();
        // A member listens at its client port and two below; the name server takes one block, too.
        let blocks = free_blocks(seams.rng.as_ref(), MEMBERS + 1, 4)?;
        let members = blocks[1..].iter().map(|first| MemberPorts { client: first + 2, raft: first + 3 });
        let spec = ClusterSpec {
            folder,
            cluster: "DemoCluster".to_owned(),
            broker_name: BROKER_NAME.to_owned(),
            name_server_port: blocks[0],
            members: members.collect(),
            segment_bytes: Some(SEGMENT_BYTES),
        };
        let mut live = LiveLine::new();
        live.say(&format!("Starting a name server and three members in {}", spec.folder.display()));
        // A client polls its routes: often, so that it finds the new leader as soon as the name server knows it.
        let config = ClientConfig { route_refresh: Duration::from_secs(1), ..ClientConfig::new(&spec.name_server()) };
        let cluster = LocalCluster::start(spec)?;
        let instance = ClientInstance::start(config, seams);
        Ok(Stage { cluster, admin: Admin::new(&instance), instance, live })
    }

    /// The whole demo. Gives the summary.
    async fn play(&mut self, traffic_time: Duration) -> Result<String, ToolError> {
        self.introduce().await?;
        let mut traffic = Traffic::start(&self.instance, TOPIC, GROUP).await?;
        self.watch(&traffic, traffic_time).await?;

        let killed = self.leader().await?;
        let killed_at = traffic.elapsed();
        let pid = self.cluster.member(killed).kill().map_err(|source| ToolError::Io { path: "kill".into(), source })?;
        self.live.say(&format!("\n    kill -9 {pid}    the leader, n{killed}\n"));
        self.wait_for_acknowledgement(&traffic, killed_at).await?;
        self.watch(&traffic, DOWN_TIME).await?;
        let pause = traffic.ledger().longest_pause_after(killed_at).unwrap_or_default();
        self.live.say(&format!("For {} ms no send was acknowledged. The other two went on.", pause.as_millis()));

        self.cluster.restart(killed)?;
        let pid = self.cluster.member(killed).pid().unwrap_or_default();
        self.live.say(&format!("Started n{killed} again, pid {pid}."));
        self.watch(&traffic, traffic_time).await?;
        let leader = self.leader().await?;
        self.live.say(&format!("n{leader} leads now. Stopping the senders and reading everything back."));
        traffic.stop_sending().await?;
        self.wait_for_consumer(&traffic).await?;

        let counts = self.read_back(&traffic).await?;
        let bytes = self.compare_commit_logs().await?;
        let summary = summary(&traffic, counts, pause, bytes);
        traffic.stop_consuming().await?;
        Ok(summary)
    }

    /// Waits for the first leader, creates the topic and says who is who.
    async fn introduce(&mut self) -> Result<(), ToolError> {
        let leader = self.leader().await?;
        let topic = TopicConfig::new(TOPIC, QUEUES, permission::READ | permission::WRITE);
        let address = self.cluster.spec().address(leader);
        let start = Instant::now();
        while let Err(error) = self.admin.create_topic(&address, &topic).await {
            self.give_up_after(start, &format!("topic {TOPIC} is not created: {error}"))?;
            sleep(Duration::from_millis(50)).await;
        }
        while let Err(error) = self.admin.topic_route(TOPIC).await {
            self.give_up_after(start, &format!("topic {TOPIC} has no route: {error}"))?;
            sleep(Duration::from_millis(50)).await;
        }
        self.live.say(&format!("  name server  {}", self.cluster.spec().name_server()));
        for number in 0..MEMBERS {
            let address = self.cluster.spec().address(number);
            let pid = self.cluster.member(number).pid().unwrap_or_default();
            let role = if number == leader { "leader" } else { "follower" };
            self.live.say(&format!("  n{number}           {address}  pid {pid}  {role}"));
        }
        self.live.say("");
        Ok(())
    }

    async fn leader(&self) -> Result<usize, ToolError> {
        find_leader(&self.admin, self.cluster.spec(), PATIENCE).await
    }

    /// Shows the live line for a while.
    async fn watch(&mut self, traffic: &Traffic, time: Duration) -> Result<(), ToolError> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.show_during(traffic, self.live.period().min(time)).await?;
        }
        Ok(())
    }

    /// Shows the live line until a send that was acknowledged after `moment`.
    async fn wait_for_acknowledgement(&mut self, traffic: &Traffic, moment: Duration) -> Result<(), ToolError> {
        /// Answers that were on the way at the kill come within this time.
        const STRAGGLERS: Duration = Duration::from_millis(50);
        let start = Instant::now();
        while traffic.ledger().last_at().is_none_or(|last| last <= moment + STRAGGLERS) {
            self.give_up_after(start, "no send was acknowledged after the kill")?;
            self.show_during(traffic, self.live.period().min(Duration::from_millis(200))).await?;
        }
        Ok(())
    }

    async fn wait_for_consumer(&mut self, traffic: &Traffic) -> Result<(), ToolError> {
        let start = Instant::now();
        loop {
            let missing = traffic.ledger().not_consumed();
            if missing == 0 {
                return Ok(());
            }
            self.give_up_after(start, &format!("{missing} acknowledged messages were not consumed"))?;
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn show_during(&mut self, traffic: &Traffic, time: Duration) -> Result<(), ToolError> {
        let (before, start) = (traffic.ledger().acknowledged.len(), Instant::now());
        sleep(time).await;
        if let Some(ended) = self.cluster.find_ended() {
            return Err(ToolError::Failed(format!("{ended} ended by itself")));
        }
        let mut ledger = traffic.ledger();
        let acknowledged = ledger.acknowledged.len();
        let rate = (acknowledged - before) as f64 / start.elapsed().as_secs_f64();
        let (seconds, latency, consumed) =
            (traffic.elapsed().as_secs_f64(), ledger.recent.summary(), ledger.consumed_once);
        self.live.show(&format!(
            "{seconds:5.1} s  {rate:6.0} acknowledged/s  {latency}  {acknowledged} acknowledged, {consumed} consumed"
        ));
        ledger.recent.clear();
        Ok(())
    }

    async fn read_back(&self, traffic: &Traffic) -> Result<Counts, ToolError> {
        let consumer = PullConsumer::new(&self.instance, "demo_reader");
        let mut queues = BTreeMap::new();
        for queue in consumer.queues(TOPIC).await? {
            queues.insert(queue.queue_id, check::read_queue(&consumer, &queue).await?);
        }
        let ledger = traffic.ledger();
        if ledger.strangers > 0 {
            return Err(ToolError::Failed(format!("{} consumed messages were never sent", ledger.strangers)));
        }
        check::check(&ledger.acknowledged, traffic.started(), &queues).map_err(|violations| {
            ToolError::Failed(format!("messages are not as acknowledged:\n{}", violations.join("\n")))
        })
    }

    /// Waits until the members' commitlogs are equal. Gives their length.
    async fn compare_commit_logs(&mut self) -> Result<u64, ToolError> {
        let folder = |number: usize, cluster: &LocalCluster| cluster.spec().store(number).join("commitlog");
        let start = Instant::now();
        'again: loop {
            let mut bytes = 0;
            for number in 1..MEMBERS {
                let (first, other) = (folder(0, &self.cluster), folder(number, &self.cluster));
                let compared = commit_logs::compare(&first, &other);
                match compared.map_err(|source| ToolError::Io { path: other, source })? {
                    Ok(used) => bytes = used,
                    Err(difference) => {
                        let text = format!("commitlogs of n0 and n{number} differ: {difference:?}");
                        self.give_up_after(start, &text)?;
                        sleep(Duration::from_millis(100)).await;
                        continue 'again;
                    }
                }
            }
            return Ok(bytes);
        }
    }

    fn give_up_after(&mut self, start: Instant, reason: &str) -> Result<(), ToolError> {
        if start.elapsed() < PATIENCE {
            return Ok(());
        }
        Err(ToolError::Failed(format!("{reason}, after {} s", PATIENCE.as_secs())))
    }
}

fn summary(traffic: &Traffic, counts: Counts, pause: Duration, bytes: u64) -> String {
    let ledger = traffic.ledger();
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!(
        "  {acknowledged} messages acknowledged, every one read back at its queue offset with its bytes\n  \
           {stored} stored in dense queues: {repeated} repeated by retries, {unacknowledged} stored without an answer\n  \
           {consumed} consumed by the group; {failed} sends failed ({unknown} with unknown outcome)\n  \
           {pause} ms without an acknowledged send around the kill\n  \
           {mebibytes:.1} MiB of commitlog, byte for byte the same on all three members",
        acknowledged = ledger.acknowledged.len(),
        stored = counts.stored,
        repeated = counts.repeated,
        unacknowledged = counts.unacknowledged,
        consumed = ledger.consumed_once,
        failed = ledger.refused + ledger.unknown,
        unknown = ledger.unknown,
        pause = pause.as_millis(),
    )
}
