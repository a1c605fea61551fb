use std::ffi::OsString;
use std::path::Path;

use clap::{Args, Command, Parser, Subcommand};
use raftmq_tools::admin::AdminArgs;
use raftmq_tools::bench::BenchArgs;
use raftmq_tools::consume::ConsumeArgs;
use raftmq_tools::demo::DemoArgs;
use raftmq_tools::produce::ProduceArgs;

use crate::dev::DevArgs;
use crate::stop_command::StopArgs;

/// A message broker for Apache RocketMQ users: same clients, ports, config keys and tools.
#[derive(Parser)]
#[command(
    name = "raftmq",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  raftmq demo                              see a group of three lose its leader, and no message
  raftmq dev                               name server and broker to develop against
  raftmq dev --nodes 3 --dir ./data        the same with a Raft group of three, and data that stays
  raftmq namesrv                           as RocketMQ's mqnamesrv
  raftmq broker -n localhost:9876          as RocketMQ's mqbroker
  raftmq produce -n localhost:9876 -t TopicTest --body hello
  raftmq consume -n localhost:9876 -t TopicTest
Called as mqnamesrv, mqbroker, mqadmin or mqshutdown it is that program."
)]
struct CommandLine {
    #[command(subcommand)]
    program: Program,
}

/// What the binary can be.
#[derive(Subcommand)]
pub(crate) enum Program {
    /// Name server: tells clients which broker has a topic
    Namesrv(raftmq_namesrv::Args),
    /// Broker: one member of one or more broker groups
    Broker(raftmq_broker::Args),
    /// Looks at a cluster and changes it (mqadmin)
    Admin(AdminArgs),
    /// Sends messages
    Produce(ProduceArgs),
    /// Reads messages as a member of a consumer group
    Consume(ConsumeArgs),
    /// Name server and broker on this machine, to develop against
    Dev(DevArgs),
    /// Three members lose their leader while messages flow; checks that nothing acknowledged is lost
    Demo(DemoArgs),
    /// Sends as fast as a broker answers and says what a message cost it
    Bench(BenchArgs),
    /// Stops running brokers or name servers (mqshutdown)
    Shutdown(StopArgs),
}

/// The program that `args` ask for, of which the first is the name we were called with. Ends the process for wrong
/// usage (exit code 2) and for `--help`.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Program {
    try_parse(args).unwrap_or_else(|error| error.exit())
}

fn try_parse(args: impl IntoIterator<Item = OsString>) -> Result<Program, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let called = args.first().and_then(|name| Path::new(name).file_stem()).unwrap_or_default();
    match called.to_str() {
        Some("mqnamesrv") => one_program("mqnamesrv", args).map(Program::Namesrv),
        Some("mqbroker") => one_program("mqbroker", args).map(Program::Broker),
        Some("mqadmin") => one_program("mqadmin", args).map(Program::Admin),
        Some("mqshutdown") => one_program("mqshutdown", args).map(Program::Shutdown),
        _ => CommandLine::try_parse_from(args).map(|line| line.program),
    }
}

/// The arguments of a program that was called by its own name.
fn one_program<A: Args>(name: &'static str, args: Vec<OsString>) -> Result<A, clap::Error> {
    let command = A::augment_args(Command::new(name).version(env!("CARGO_PKG_VERSION")));
    A::from_arg_matches(&command.try_get_matches_from(args)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Program, clap::Error> {
        try_parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definitions_are_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_name_it_is_called_with_picks_the_program() {
        assert!(matches!(parse("/opt/bin/mqshutdown broker"), Ok(Program::Shutdown(_))));
        assert!(matches!(parse("mqadmin topicList -n a:1"), Ok(Program::Admin(_))));
        assert!(matches!(parse("mqbroker -n a:1"), Ok(Program::Broker(_))));
        assert!(matches!(parse("mqnamesrv"), Ok(Program::Namesrv(_))));
        assert!(matches!(parse("./raftmq broker -n a:1"), Ok(Program::Broker(_))));
    }

    #[test]
    fn wrong_usage_is_exit_code_2_and_help_is_0() {
        let code = |line: &str| parse(line).err().map(|error| error.exit_code());
        for line in ["raftmq brocker", "raftmq produce --count x -t T", "mqshutdown", "mqadmin updateTopic -t T"] {
            assert_eq!(code(line), Some(2), "{line}");
        }
        assert_eq!(code("raftmq --help"), Some(0));
        assert_eq!(code("raftmq consume --help"), Some(0));
    }

    #[test]
    fn options_are_rocketmqs() {
        for line in [
            "raftmq admin updateTopic -n a:1 -c DefaultCluster -t T -r 8 -w 8 -p 6 -o false",
            "mqadmin updatetopic --namesrvAddr a:1 --brokerAddr b:1 --topic T --readQueueNums 4 --writeQueueNums 4",
            "mqadmin updateSubGroup -n a:1 -c C -g G -s true -a false",
            "mqadmin topicRoute -n a:1 -t T -l",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        assert!(parse("mqadmin updateTopic -n a:1 -t T -c C -b b:1").is_err(), "one target only");
    }
}
