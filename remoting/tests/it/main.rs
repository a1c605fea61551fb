//! The crate over real sockets.
#![expect(clippy::disallowed_methods, reason = "tests measure real time; nothing here decides what is stored")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bad_input;
mod exchange;
mod overload;
mod shutdown;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use raftmq_remoting::{RemotingCommand, ReplyBuffer, RequestProcessor, Server, ServerConfig, Session};
use raftmq_sys::Seams;

/// Longest time that a test waits for what must happen.
const LIMIT: Duration = Duration::from_secs(10);

/// Code that the handler below does not answer at once: the test answers it.
const HELD: i32 = 9001;
/// Code that makes the handler panic.
const PANICS: i32 = 9002;
/// Code whose answer has as many bytes as its field `bytes` says.
const LARGE: i32 = 9003;

/// Echoes bodies, and counts.
#[derive(Default)]
struct Echo {
    sessions: Mutex<Vec<Arc<Session>>>,
    held: Mutex<Vec<(Arc<Session>, RemotingCommand)>>,
    largest_batch: AtomicUsize,
    oneways: AtomicUsize,
    closed: AtomicUsize,
}

impl RequestProcessor for Echo {
    fn process(&self, session: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
        self.largest_batch.fetch_max(requests.len(), Ordering::Relaxed);
        for request in requests.drain(..) {
            match request.code {
                HELD => self.held.lock().unwrap().push((Arc::clone(session), request)),
                PANICS => panic!("asked for"),
                LARGE => {
                    let bytes = request.fields.get("bytes").and_then(|text| text.parse().ok()).unwrap_or(0);
                    replies.push_segments(request.meta(), 0, None, &[], vec![vec![7; bytes].into()]);
                }
                _ => {
                    self.oneways.fetch_add(usize::from(request.is_oneway()), Ordering::Relaxed);
                    replies.push(request.meta(), 0, None, &[], &request.body);
                }
            }
        }
    }

    fn opened(&self, session: &Arc<Session>) {
        self.sessions.lock().unwrap().push(Arc::clone(session));
    }

    fn closed(&self, session: &Arc<Session>) {
        assert!(session.is_closed());
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

async fn start(config: ServerConfig) -> (Server, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    let server = Server::bind("127.0.0.1:0", config, Arc::clone(&echo) as _, Seams::real()).await.unwrap();
    (server, echo)
}

/// Waits until something is so.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
