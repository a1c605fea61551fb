//! The sending side of a connection, usable from any thread.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

/// Pieces that one system call takes.
const MAX_SLICES: usize = 64;

/// Why bytes were not taken. The caller closes the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("connection is closed")]
    Closed,
    #[error("{queued_bytes} bytes wait for a peer that does not read; the limit is {limit_bytes}")]
    Overflow { queued_bytes: usize, limit_bytes: usize },
    #[error("write: {0}")]
    Io(#[from] io::Error),
}

/// Writes at once if nothing waits, else queues for the connection's task.
///
/// The lock is held over the (non-blocking) write, so that what is sent first is on the wire first.
pub(crate) struct Outbound {
    state: Mutex<State>,
    limit_bytes: usize,
    /// Bytes in `State::queue`, readable without the lock.
    queued_bytes: AtomicUsize,
    /// Bytes ever given to the socket.
    written_bytes: AtomicU64,
    writes: AtomicU64,
    /// Tells the connection's task that something is queued or that the connection is to end.
    pub(crate) wake: Notify,
}

struct State {
    /// `None` once closed: sessions outlive their socket, whose descriptor must not wait for them.
    writer: Option<OwnedWriteHalf>,
    queue: VecDeque<Bytes>,
    /// Bytes ever accepted.
    accepted_bytes: u64,
}

impl Outbound {
    pub(crate) fn new(writer: OwnedWriteHalf, limit_bytes: usize) -> Outbound {
        Outbound {
            state: Mutex::new(State { writer: Some(writer), queue: VecDeque::new(), accepted_bytes: 0 }),
            limit_bytes,
            queued_bytes: AtomicUsize::new(0),
            written_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// System calls that wrote so far.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Whether a byte at or after this position of the stream was given to the socket.
    pub(crate) fn has_written_past(&self, position: u64) -> bool {
        self.written_bytes.load(Ordering::Relaxed) > position
    }

    /// Sends segments in order; returns the position in the stream where they start.
    ///
    /// Fails if more than the limit waits already. What one call brings is not counted against it, so that an answer
    /// larger than the limit still gets through; the limit plus one call's bytes bound the memory.
    pub(crate) fn send(&self, segments: impl IntoIterator<Item = Bytes>) -> Result<u64, SendError> {
        let mut state = self.lock();
        if state.writer.is_none() {
            return Err(SendError::Closed);
        }
        let queued_bytes = self.queued_bytes();
        if queued_bytes > self.limit_bytes {
            return Err(SendError::Overflow { queued_bytes, limit_bytes: self.limit_bytes });
        }
        let start = state.accepted_bytes;
        let was_empty = state.queue.is_empty();
        let mut added = 0;
        for segment in segments {
            added += segment.len();
            state.queue.push_back(segment);
        }
        state.accepted_bytes += added as u64;
        self.queued_bytes.fetch_add(added, Ordering::Relaxed);
        if was_empty {
            self.write(&mut state)?;
            if !state.queue.is_empty() {
                self.wake.notify_one();
            }
        }
        Ok(start)
    }

    /// Writes what is queued as far as the socket takes it.
    pub(crate) fn flush(&self) -> Result<(), SendError> {
        Ok(self.write(&mut self.lock())?)
    }

    fn write(&self, state: &mut State) -> io::Result<()> {
        let State { writer: Some(writer), queue, .. } = state else { return Ok(()) };
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, segment) in slices.iter_mut().zip(queue.iter()) {
                *slice = IoSlice::new(segment);
                count += 1;
            }
            self.writes.fetch_add(1, Ordering::Relaxed);
            match writer.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.written_bytes.fetch_add(written as u64, Ordering::Relaxed);
                    self.queued_bytes.fetch_sub(written, Ordering::Relaxed);
                    advance(queue, written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Drops what is queued and closes both directions.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.queue.clear();
        self.queued_bytes.store(0, Ordering::Relaxed);
        if let Some(writer) = state.writer.take() {
            // The peer may be gone already; there is nothing to do about an error here.
            let stream: &TcpStream = writer.as_ref();
            let _ = SockRef::from(stream).shutdown(Shutdown::Both);
            writer.forget();
        }
        drop(state);
        self.wake.notify_one();
    }
}

fn advance(queue: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = queue.front_mut() {
        if front.len() > written {
            front.advance(written);
            return;
        }
        written -= front.len();
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_keeps_the_rest_of_a_segment() {
        let mut queue =
            VecDeque::from([Bytes::from_static(b"abc"), Bytes::from_static(b"de"), Bytes::from_static(b"f")]);
        advance(&mut queue, 4);
        assert_eq!(queue, [Bytes::from_static(b"e"), Bytes::from_static(b"f")]);
        advance(&mut queue, 2);
        assert!(queue.is_empty());
    }
}
