use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use raftmq_remoting::{Client, RemotingCommand, ReplyBuffer, ServerConfig};

use crate::{HELD, LIMIT, eventually, start};

#[tokio::test]
async fn what_was_asked_before_is_answered_before_the_end() {
    let (server, echo) = start(ServerConfig::default()).await;
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    let answer_late = async {
        eventually("held", || !echo.held.lock().unwrap().is_empty()).await;
        let stopping = server.shutdown(LIMIT);
        let answer = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (session, request) = echo.held.lock().unwrap().pop().unwrap();
            let mut replies = ReplyBuffer::new();
            replies.push(request.meta(), 0, None, &[], b"late");
            session.send(replies);
        };
        tokio::join!(stopping, answer);
    };
    let start = Instant::now();
    let (answer, ()) = tokio::join!(client.invoke(RemotingCommand::request(HELD), LIMIT), answer_late);
    assert_eq!(answer.unwrap().body.as_ref(), b"late");
    assert!(start.elapsed() < LIMIT / 2, "no need to wait for the whole drain");
    client.closed().await;
    assert_eq!(echo.closed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_request_that_nobody_answers_does_not_hold_up_the_end() {
    let (server, echo) = start(ServerConfig::default()).await;
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    let stop = async {
        eventually("held", || !echo.held.lock().unwrap().is_empty()).await;
        server.shutdown(Duration::from_millis(50)).await;
    };
    let (answer, ()) = tokio::join!(client.invoke(RemotingCommand::request(HELD), LIMIT), stop);
    assert!(answer.unwrap_err().effect_is_unknown());
}

#[tokio::test]
async fn dropping_the_server_closes_its_connections() {
    let (server, echo) = start(ServerConfig::default()).await;
    let client = Arc::new(Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap());
    eventually("opened", || echo.sessions.lock().unwrap().len() == 1).await;
    drop(server);
    client.closed().await;
    eventually("closed hook", || echo.closed.load(Ordering::Relaxed) == 1).await;
}
