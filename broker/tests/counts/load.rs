//! Sends on blocking sockets from frames encoded beforehand; once it runs, it allocates nothing.
#![expect(clippy::disallowed_methods, reason = "a load generator decides nothing that is stored")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use raftmq_remoting::{RemotingCommand, request_code};

pub(crate) const CONNECTIONS: usize = 8;
pub(crate) const IN_FLIGHT: usize = 32;
const QUEUES: u8 = 8;
const READ_BYTES: usize = 64 << 10;

#[derive(Default)]
pub(crate) struct Progress {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// One thread per connection, until told to stop.
pub(crate) struct Load {
    progress: Arc<Progress>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(address: &str) -> Load {
        let progress = Arc::new(Progress::default());
        let threads = (0..CONNECTIONS).map(|_| {
            let (address, progress) = (address.to_owned(), progress.clone());
            thread::spawn(move || Connection::new(&address).drive(&progress))
        });
        Load { threads: threads.collect(), progress }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.progress.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    pub(crate) fn stop(self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

struct Connection {
    stream: TcpStream,
    frame: Vec<u8>,
    queue_at: usize,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl Connection {
    fn new(address: &str) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = RemotingCommand::request(request_code::SEND_MESSAGE_V2)
            .with_field("a", "group")
            .with_field("b", "Counts")
            .with_field("c", "TBW102")
            .with_field("d", QUEUES)
            .with_field("e", "7")
            .with_field("f", 0)
            .with_field("g", 1_700_000_000_000i64)
            .with_field("h", 0)
            .with_field("i", "UNIQ_KEY\u{1}7F0000010B5C18B4AAC216A9E7F80000\u{2}WAIT\u{1}true")
            .with_field("j", 0)
            .with_field("k", false)
            .with_field("m", false)
            .with_body(vec![b'm'; 1024]);
        let frame = request.to_bytes().to_vec();
        let queue_at = position(&frame, b"\"e\":\"7\"").unwrap() + b"\"e\":\"".len();
        let out = Vec::with_capacity(IN_FLIGHT * frame.len());
        Connection { stream, frame, queue_at, out, input: vec![0; READ_BYTES] }
    }

    /// Keeps the window full: as many sends go out as one read brought answers.
    fn drive(mut self, progress: &Progress) {
        let (mut free, mut filled, mut queue) = (IN_FLIGHT, 0, 0);
        loop {
            if progress.stop.load(Ordering::Relaxed) {
                if free == IN_FLIGHT {
                    return;
                }
            } else if free > 0 {
                self.out.clear();
                for _ in 0..std::mem::take(&mut free) {
                    queue = (queue + 1) % QUEUES;
                    self.frame[self.queue_at] = b'0' + queue;
                    self.out.extend_from_slice(&self.frame);
                }
                self.stream.write_all(&self.out).unwrap();
            }
            let count = self.stream.read(&mut self.input[filled..]).unwrap();
            assert_ne!(count, 0, "the broker closed the connection");
            filled += count;
            let mut at = 0;
            while let Some(length) = self.input[at..filled].first_chunk::<4>() {
                let end = at + 4 + u32::from_be_bytes(*length) as usize;
                if end > filled {
                    break;
                }
                assert!(position(&self.input[at..end], b"{\"code\":0,").is_some(), "a send was not stored");
                free += 1;
                progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                at = end;
            }
            self.input.copy_within(at..filled, 0);
            filled -= at;
        }
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
