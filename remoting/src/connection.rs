//! The task of one connection: read, cut all frames, process them in one call, write once.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::BytesMut;
use futures::FutureExt;
use raftmq_sys::Clock;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::tcp::OwnedReadHalf;

use crate::command::{RemotingCommand, RequestMeta};
use crate::frame::{DecodeError, FrameDecoder};
use crate::inbound::InboundShare;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::reply::ReplyBuffer;
use crate::response_code;
use crate::session::{Session, micros};

/// Handles requests, of clients at a server or of the server at a client.
///
/// Runs on the connection's task: what blocks must be done elsewhere, and answered later by [`Session::send`]. A
/// request that is never answered lets its sender run into its time limit.
pub trait RequestProcessor: Send + Sync + 'static {
    /// Takes all requests that one read brought. Answers that are ready go to `replies`, which is written once after
    /// the call. A panic answers everything not yet answered with SYSTEM_ERROR.
    fn process(&self, session: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer);

    /// A connection has come.
    fn opened(&self, _session: &Arc<Session>) {}

    /// A connection has ended; called once, after [`Session::is_closed`] turned true.
    fn closed(&self, _session: &Arc<Session>) {}
}

/// First byte of a TLS hello; the length word of a sane frame starts with 0.
const TLS_HANDSHAKE: u8 = 0x16;
/// Reading pauses while more than this fraction of the outbound limit waits to be written.
const PAUSE_FRACTION: usize = 4;

pub(crate) struct Connection {
    pub(crate) session: Arc<Session>,
    pub(crate) reader: OwnedReadHalf,
    pub(crate) processor: Arc<dyn RequestProcessor>,
    pub(crate) decoder: FrameDecoder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) max_outbound_bytes: usize,
    /// `None` at a client, which has few connections.
    pub(crate) inbound: Option<InboundShare>,
}

/// Why a connection ended, other than by the peer.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the peer")]
    Peer,
    #[error("closed here")]
    Here,
    #[error("read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("TLS is not configured here")]
    Tls,
}

impl Connection {
    /// Until the connection ends; then the session is closed and the processor told, also if the task is dropped.
    pub(crate) async fn run(mut self, on_end: impl FnOnce(&Arc<Session>)) {
        let session = Arc::clone(&self.session);
        let processor = Arc::clone(&self.processor);
        let metrics = Arc::clone(&self.metrics);
        let _ended = OnDrop(Some(|| {
            session.close();
            metrics.connections.add(-1);
            if catch_unwind(AssertUnwindSafe(|| processor.closed(&session))).is_err() {
                tracing::error!(peer = %session.peer(), "handler of a closed connection panicked");
            }
            on_end(&session);
        }));
        metrics.connections.add(1);
        processor.opened(&session);
        let end = self.serve().await;
        let peer = session.peer();
        match end {
            End::Peer | End::Here => tracing::debug!(%peer, reason = %end, "connection ended"),
            End::Read(_) => tracing::info!(%peer, reason = %end, "connection ended"),
            End::Decode(_) | End::Tls => tracing::warn!(%peer, reason = %end, "connection closed"),
        }
    }

    async fn serve(&mut self) -> End {
        let session = Arc::clone(&self.session);
        let Some(outbound) = session.outbound() else { return End::Here };
        let mut input = Input::default();
        let mut batch = Batch::default();
        let mut writes = 0;
        loop {
            if session.is_closed() {
                return End::Here;
            }
            let queued_bytes = outbound.queued_bytes();
            let reads = session.reads() && queued_bytes <= self.max_outbound_bytes / PAUSE_FRACTION;
            let ready = match wait(&self.reader, outbound, reads, queued_bytes > 0).await {
                Ok(Some(ready)) => ready,
                Ok(None) => continue,
                Err(error) => return End::Read(error),
            };
            if queued_bytes > 0 && ready.is_writable() {
                session.flush();
            }
            if reads && (ready.is_readable() || ready.is_read_closed()) {
                if queued_bytes > 0 {
                    // The peer reads slowly: ask for little, so that one batch of answers stays small.
                    input.read_bytes = MIN_READ_BYTES;
                }
                if let Err(end) = self.read(&mut input, &mut batch) {
                    return end;
                }
            }
            let written = outbound.writes();
            self.metrics.writes.add(written - writes);
            writes = written;
        }
    }

    /// One read and everything that it brought.
    fn read(&mut self, input: &mut Input, batch: &mut Batch) -> Result<(), End> {
        let buffer = input.reserve(&self.decoder);
        // Polled once and not `try_read_buf`: only this way a read that did not fill the buffer counts as the last,
        // which saves the system call that would say so.
        let bytes = match self.reader.read_buf(buffer).now_or_never() {
            None => return Ok(()),
            Some(Ok(0)) => return Err(End::Peer),
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(End::Read(error)),
        };
        self.metrics.reads.add(1);
        self.metrics.read_bytes.add(bytes as u64);
        if input.note_read(bytes) == Some(TLS_HANDSHAKE) {
            return Err(End::Tls);
        }
        let now_us = micros(self.clock.as_ref());
        // What was whole before a broken frame is still answered.
        let before = input.buffer.len();
        let cut = self.cut(&mut input.buffer, batch, now_us);
        let unfinished_bytes = input.buffer.len();
        self.session.note_unfinished(now_us, unfinished_bytes, unfinished_bytes < before);
        if let Some(inbound) = &mut self.inbound {
            inbound.set(unfinished_bytes);
        }
        let to_answer = batch.metas.iter().filter(|meta| !meta.oneway).count();
        self.session.note_read(now_us, to_answer);
        if !batch.requests.is_empty() {
            self.metrics.batch_requests.record(batch.requests.len() as u64);
            self.process(batch);
        }
        Ok(cut?)
    }

    /// Cuts all whole frames; answers to our own requests go to who waits for them.
    fn cut(&self, buffer: &mut BytesMut, batch: &mut Batch, now_us: u64) -> Result<(), DecodeError> {
        while let Some(mut command) = self.decoder.decode(buffer)? {
            if command.is_response() {
                self.session.complete(command);
            } else {
                command.received_us = now_us;
                self.metrics.received(&command);
                batch.metas.push(command.meta());
                batch.requests.push(command);
            }
        }
        Ok(())
    }

    fn process(&self, batch: &mut Batch) {
        let mut replies = ReplyBuffer::new();
        let call = || self.processor.process(&self.session, &mut batch.requests, &mut replies);
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            tracing::error!(peer = %self.session.peer(), requests = batch.metas.len(), "request handler panicked");
            let answered = replies.opaques();
            for meta in batch.metas.iter().filter(|meta| !answered.contains(&meta.opaque)) {
                replies.push(*meta, response_code::SYSTEM_ERROR, Some("the request handler panicked"), &[], &[]);
            }
        }
        batch.requests.clear();
        batch.metas.clear();
        self.session.send(replies);
    }
}

/// Requests of one read; kept for their memory.
#[derive(Default)]
struct Batch {
    requests: Vec<RemotingCommand>,
    metas: Vec<RequestMeta>,
}

/// Space for the first read, and the least for later ones.
const MIN_READ_BYTES: usize = 4 * 1024;
/// Most space for one read.
const MAX_READ_BYTES: usize = 256 * 1024;

/// Received bytes that are not yet cut.
struct Input {
    buffer: BytesMut,
    /// Space for the next read; follows what recent reads brought.
    read_bytes: usize,
    seen_first: bool,
}

impl Default for Input {
    fn default() -> Self {
        Input { buffer: BytesMut::new(), read_bytes: MIN_READ_BYTES, seen_first: false }
    }
}

impl Input {
    /// Makes room: for what the frame in progress still needs, but never for more than has come already, so that a
    /// length alone costs no memory.
    fn reserve(&mut self, decoder: &FrameDecoder) -> &mut BytesMut {
        let missing = decoder.missing_bytes(&self.buffer).min(self.buffer.len().max(MIN_READ_BYTES));
        self.buffer.reserve(self.read_bytes.max(missing));
        &mut self.buffer
    }

    /// Returns the connection's first byte, once.
    fn note_read(&mut self, bytes: usize) -> Option<u8> {
        if bytes >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
        } else if bytes < self.read_bytes / 8 {
            self.read_bytes = (self.read_bytes / 2).max(MIN_READ_BYTES);
        }
        if self.seen_first {
            return None;
        }
        self.seen_first = true;
        self.buffer.first().copied()
    }
}

/// Runs a closure at the end of a scope, however it is left.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

async fn wait(
    reader: &OwnedReadHalf,
    outbound: &Outbound,
    reads: bool,
    writes: bool,
) -> io::Result<Option<tokio::io::Ready>> {
    let interest = match (reads, writes) {
        (true, true) => Interest::READABLE | Interest::WRITABLE,
        (true, false) => Interest::READABLE,
        (false, true) => Interest::WRITABLE,
        (false, false) => {
            outbound.wake.notified().await;
            return Ok(None);
        }
    };
    tokio::select! {
        biased;
        () = outbound.wake.notified() => Ok(None),
        ready = reader.ready(interest) => ready.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::MAX_FRAME_BYTES;

    #[test]
    fn a_promised_frame_of_16_mib_reserves_little() {
        let mut input = Input::default();
        input.buffer.extend_from_slice(&((MAX_FRAME_BYTES - 4) as u32).to_be_bytes());
        input.buffer.extend_from_slice(&[0, 0, 0, 2, b'{', b'}']);
        input.reserve(&FrameDecoder::default());
        assert!(input.buffer.capacity() <= 4 * MIN_READ_BYTES, "{}", input.buffer.capacity());
        input.buffer.resize(1 << 20, 0);
        input.reserve(&FrameDecoder::default());
        assert!(input.buffer.capacity() <= 5 << 20, "{}", input.buffer.capacity());
    }

    #[test]
    fn the_room_for_reads_follows_what_they_bring() {
        let mut input = Input::default();
        for _ in 0..20 {
            input.note_read(MAX_READ_BYTES);
        }
        assert_eq!(input.read_bytes, MAX_READ_BYTES);
        for _ in 0..20 {
            input.note_read(1);
        }
        assert_eq!(input.read_bytes, MIN_READ_BYTES);
    }
}
