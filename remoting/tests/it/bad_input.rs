use std::sync::atomic::Ordering;

use raftmq_remoting::{Client, RemotingCommand, Server, ServerConfig};
use raftmq_sys::Seams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{LIMIT, eventually, start};

/// What the server sends until it closes the connection; a reset counts as closed.
async fn answer_until_closed(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the server closes");
    answer
}

#[tokio::test]
async fn frames_that_cannot_be_cut_close_the_connection_without_an_answer() {
    let (server, echo) = start(ServerConfig::default()).await;
    let cases: [&[u8]; 7] = [
        &[0x01, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 1],
        &[0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0],
        &[0, 0, 0, 8, 9, 0, 0, 2, b'{', b'}', 0, 0],
        &[0, 0, 0, 6, 0, 0, 0, 2, b'{', b'{'],
        &[0, 0, 0, 6, 1, 0, 0, 2, 0, 0],
    ];
    for bytes in cases {
        assert_eq!(answer_until_closed(&server, bytes).await, b"", "{bytes:?}");
    }
    eventually("closed hooks", || echo.closed.load(Ordering::Relaxed) == cases.len()).await;
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    assert_eq!(client.invoke(RemotingCommand::request(1), LIMIT).await.unwrap().code, 0);
}

#[tokio::test]
async fn what_came_whole_before_a_broken_frame_is_answered() {
    let (server, _) = start(ServerConfig::default()).await;
    let mut bytes = RemotingCommand::request(1).with_body("first").to_bytes().to_vec();
    bytes.extend_from_slice(&[0xff; 8]);
    let answer = answer_until_closed(&server, &bytes).await;
    assert!(answer.ends_with(b"first"), "{answer:?}");
}

#[tokio::test]
async fn a_tls_hello_is_refused() {
    let (server, _) = start(ServerConfig::default()).await;
    assert_eq!(answer_until_closed(&server, &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]).await, b"");
}

#[tokio::test]
async fn frames_over_a_lower_limit_are_refused() {
    let (server, _) = start(ServerConfig { max_frame_bytes: 1024, ..ServerConfig::default() }).await;
    let request = RemotingCommand::request(1).with_body(vec![0; 2000]);
    assert_eq!(answer_until_closed(&server, &request.to_bytes()).await, b"");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let (server, echo) = start(ServerConfig::default()).await;
    let address = server.local_addr().to_string();
    let error = Server::bind(&address, ServerConfig::default(), echo, Seams::real()).await.err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on {address}: ")), "{text}");
}
