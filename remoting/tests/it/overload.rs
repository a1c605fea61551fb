use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use raftmq_remoting::{Client, FrameDecoder, RemotingCommand, ReplyBuffer, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{HELD, LARGE, LIMIT, eventually, start};

fn asks_for(bytes: usize) -> RemotingCommand {
    RemotingCommand::request(LARGE).with_field("bytes", bytes)
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_at_the_bound() {
    let (server, echo) = start(ServerConfig { max_outbound_bytes: 4 << 20, ..ServerConfig::default() }).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let requests: Vec<u8> = (0..100).flat_map(|_| RemotingCommand::request(HELD).to_bytes()).collect();
    stream.write_all(&requests).await.unwrap();
    eventually("held", || echo.held.lock().unwrap().len() == 100).await;
    let held = std::mem::take(&mut *echo.held.lock().unwrap());
    let mut sent = 0;
    for (session, request) in held {
        if session.is_closed() {
            break;
        }
        let mut replies = ReplyBuffer::new();
        replies.push_segments(request.meta(), 0, None, &[], vec![vec![0; 1 << 20].into()]);
        session.send(replies);
        sent += 1;
    }
    // The socket's own buffers take some as well.
    assert!((5..40).contains(&sent), "{sent}");
    eventually("closed", || echo.closed.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn an_answer_larger_than_the_bound_still_arrives() {
    let (server, _) = start(ServerConfig { max_outbound_bytes: 1 << 20, ..ServerConfig::default() }).await;
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    assert_eq!(client.invoke(asks_for(15 << 20), LIMIT).await.unwrap().body.len(), 15 << 20);
}

#[tokio::test]
async fn reading_pauses_while_answers_wait_and_goes_on_after() {
    const REQUESTS: usize = 200;
    const ANSWER_BYTES: usize = 1 << 20;
    let (server, echo) = start(ServerConfig { max_outbound_bytes: 64 << 20, ..ServerConfig::default() }).await;
    let stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    // 200 MiB are asked for, one request at a time, by a peer that reads late: without the pause that would be over
    // the bound of 64 MiB.
    let asking = tokio::spawn(async move {
        for _ in 0..REQUESTS {
            let _ = writer.write_all(&asks_for(ANSWER_BYTES).to_bytes()).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        writer
    });
    let _writer = asking.await.unwrap();
    assert_eq!(echo.closed.load(Ordering::Relaxed), 0);
    let mut input = BytesMut::new();
    let mut answers = 0;
    while answers < REQUESTS {
        assert_ne!(reader.read_buf(&mut input).await.unwrap(), 0, "closed after {answers}");
        while let Some(answer) = FrameDecoder::default().decode(&mut input).unwrap() {
            assert_eq!(answer.body.len(), ANSWER_BYTES);
            answers += 1;
        }
    }
}

/// The start of a frame of 8 MiB.
fn frame_start(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; bytes];
    frame[..8].copy_from_slice(&[0, 0x80, 0, 0, 0, 0, 0, 2]);
    frame
}

#[tokio::test]
async fn unfinished_frames_of_all_connections_are_bounded_and_the_largest_go() {
    let (server, echo) = start(ServerConfig { max_inbound_bytes: 4 << 20, ..ServerConfig::default() }).await;
    let mut small = TcpStream::connect(server.local_addr()).await.unwrap();
    small.write_all(&frame_start(1 << 20)).await.unwrap();
    let mut large = TcpStream::connect(server.local_addr()).await.unwrap();
    large.write_all(&frame_start(2 << 20)).await.unwrap();
    let mut last = TcpStream::connect(server.local_addr()).await.unwrap();
    // May fail half way: it becomes the largest before it is whole.
    let _ = last.write_all(&frame_start(5 << 20)).await;
    eventually("one is closed", || echo.closed.load(Ordering::Relaxed) >= 1).await;
    let sessions = echo.sessions.lock().unwrap().clone();
    assert!(!sessions[0].is_closed(), "the smallest stays");
}

#[tokio::test]
async fn a_frame_that_never_ends_is_given_up() {
    let (server, echo) = start(ServerConfig { idle: Duration::from_millis(400), ..ServerConfig::default() }).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(&frame_start(16)).await.unwrap();
    // Each byte is a sign of life, none of them the last.
    let drip = async {
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, drip).await.unwrap();
    eventually("closed hook", || echo.closed.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let (server, _) = start(ServerConfig { max_connections: 1, ..ServerConfig::default() }).await;
    let first = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    assert_eq!(first.invoke(RemotingCommand::request(1), LIMIT).await.unwrap().code, 0);
    let second = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    second.closed().await;
    drop(first);
    let mut third = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    // The place is free when the server has seen that the first is gone.
    while third.invoke(RemotingCommand::request(1), LIMIT).await.is_err() {
        third = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    }
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let (server, echo) = start(ServerConfig { idle: Duration::from_millis(400), ..ServerConfig::default() }).await;
    let address = server.local_addr().to_string();
    let idle = Client::connect(&address, LIMIT).await.unwrap();
    let busy = Client::connect(&address, LIMIT).await.unwrap();
    let keep_busy = async {
        loop {
            assert_eq!(busy.invoke(RemotingCommand::request(1), LIMIT).await.unwrap().code, 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = keep_busy => unreachable!("it never ends"),
        () = idle.closed() => {}
    }
    assert!(!busy.is_closed());
    eventually("closed hook", || echo.closed.load(Ordering::Relaxed) == 1).await;
}
