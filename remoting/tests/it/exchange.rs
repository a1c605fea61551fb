use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use raftmq_remoting::{
    Client, ClientIdentity, Codec, FrameDecoder, InvokeError, Language, RemotingCommand, ReplyBuffer, RequestProcessor,
    ServerConfig, Session, request_code, response_code,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{HELD, LARGE, LIMIT, PANICS, eventually, start};

#[tokio::test]
async fn many_callers_share_a_connection_in_both_forms() {
    let (server, _) = start(ServerConfig::default()).await;
    let client = Arc::new(Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap());
    let mut callers = Vec::new();
    for number in 0..200 {
        let client = Arc::clone(&client);
        callers.push(tokio::spawn(async move {
            let codec = if number % 2 == 0 { Codec::Json } else { Codec::RocketMq };
            let body = vec![number as u8; number * 50];
            let request = RemotingCommand::request(1).with_codec(codec).with_body(body.clone());
            let answer = client.invoke(request, LIMIT).await.unwrap();
            assert!(answer.is_response());
            assert_eq!((answer.codec, answer.body.as_ref()), (codec, body.as_slice()));
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn all_frames_of_one_write_are_one_batch() {
    let (server, echo) = start(ServerConfig::default()).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut out = BytesMut::new();
    for opaque in 0..20 {
        let mut request = RemotingCommand { opaque, ..RemotingCommand::request(1) };
        if opaque == 7 {
            request = request.with_oneway();
        }
        request.encode(&mut out);
    }
    stream.write_all(&out).await.unwrap();
    let mut input = BytesMut::new();
    let mut opaques = Vec::new();
    while opaques.len() < 19 {
        stream.read_buf(&mut input).await.unwrap();
        while let Some(answer) = FrameDecoder::default().decode(&mut input).unwrap() {
            opaques.push(answer.opaque);
        }
    }
    assert_eq!(opaques, (0..20).filter(|opaque| *opaque != 7).collect::<Vec<_>>());
    assert_eq!(echo.oneways.load(Ordering::Relaxed), 1);
    assert_eq!(echo.largest_batch.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn a_request_that_arrives_byte_by_byte_is_answered() {
    let (server, _) = start(ServerConfig::default()).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in RemotingCommand::request(1).with_body("slow").to_bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut input = BytesMut::new();
    loop {
        stream.read_buf(&mut input).await.unwrap();
        if let Some(answer) = FrameDecoder::default().decode(&mut input).unwrap() {
            assert_eq!(answer.body.as_ref(), b"slow");
            return;
        }
    }
}

#[tokio::test]
async fn a_large_answer_in_segments_arrives_whole() {
    let (server, _) = start(ServerConfig::default()).await;
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    let answer = client.invoke(RemotingCommand::request(LARGE).with_field("bytes", 8 << 20), LIMIT).await.unwrap();
    assert_eq!(answer.body.len(), 8 << 20);
}

#[tokio::test]
async fn a_held_request_is_answered_from_a_thread_without_a_runtime() {
    let (server, echo) = start(ServerConfig::default()).await;
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    let answerer = {
        let echo = Arc::clone(&echo);
        async move {
            eventually("held", || !echo.held.lock().unwrap().is_empty()).await;
            let (session, request) = echo.held.lock().unwrap().pop().unwrap();
            std::thread::spawn(move || {
                let mut replies = ReplyBuffer::new();
                replies.push(request.meta(), response_code::PULL_NOT_FOUND, None, &[], b"");
                session.send(replies);
            });
        }
    };
    let (answer, ()) = tokio::join!(client.invoke(RemotingCommand::request(HELD), LIMIT), answerer);
    assert_eq!(answer.unwrap().code, response_code::PULL_NOT_FOUND);
}

#[tokio::test]
async fn a_panic_answers_what_was_not_answered_and_the_server_lives() {
    let (server, _) = start(ServerConfig::default()).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut out = BytesMut::new();
    for (opaque, code) in [(1, 1), (2, PANICS), (3, 1)] {
        RemotingCommand { opaque, ..RemotingCommand::request(code) }.encode(&mut out);
    }
    stream.write_all(&out).await.unwrap();
    let mut input = BytesMut::new();
    let mut answers = Vec::new();
    while answers.len() < 3 {
        stream.read_buf(&mut input).await.unwrap();
        while let Some(answer) = FrameDecoder::default().decode(&mut input).unwrap() {
            answers.push((answer.opaque, answer.code));
        }
    }
    assert_eq!(answers, [(1, 0), (2, response_code::SYSTEM_ERROR), (3, response_code::SYSTEM_ERROR)]);
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    assert_eq!(client.invoke(RemotingCommand::request(1), LIMIT).await.unwrap().code, 0);
}

/// A client that notes notices and answers everything else.
#[derive(Default)]
struct ClientSide(Mutex<Vec<(i32, Codec)>>);

impl RequestProcessor for ClientSide {
    fn process(&self, _: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
        for request in requests.drain(..) {
            self.0.lock().unwrap().push((request.code, request.codec));
            replies.push(request.meta(), 0, Some("from the client"), &[], &request.body);
        }
    }
}

#[tokio::test]
async fn the_server_asks_and_tells_its_client() {
    let (server, echo) = start(ServerConfig::default()).await;
    let seen = Arc::new(ClientSide::default());
    let address = server.local_addr().to_string();
    let _client = Client::connect_with(&address, LIMIT, Arc::clone(&seen) as _).await.unwrap();
    eventually("opened", || !echo.sessions.lock().unwrap().is_empty()).await;
    let session = Arc::clone(&echo.sessions.lock().unwrap()[0]);
    assert_eq!(*session.client(), ClientIdentity::default());
    session.set_client(ClientIdentity { language: Language::Cpp, version: 275, client_id: "c@1".to_owned() });
    assert_eq!(session.client().client_id, "c@1");

    let request = RemotingCommand::request(request_code::GET_CONSUMER_RUNNING_INFO).with_codec(Codec::RocketMq);
    let answer = session.invoke(request.with_body("x"), LIMIT).await.unwrap();
    assert_eq!((answer.remark.as_deref(), answer.body.as_ref()), (Some("from the client"), &b"x"[..]));
    session.oneway(RemotingCommand::request(request_code::NOTIFY_CONSUMER_IDS_CHANGED));
    eventually("notice", || seen.0.lock().unwrap().len() == 2).await;
    let json = Codec::Json;
    assert_eq!(
        *seen.0.lock().unwrap(),
        [(request_code::GET_CONSUMER_RUNNING_INFO, json), (request_code::NOTIFY_CONSUMER_IDS_CHANGED, json)],
        "requests of the server are JSON"
    );
}

#[tokio::test]
async fn a_lost_connection_fails_all_who_wait_at_once() {
    let (server, echo) = start(ServerConfig::default()).await;
    let client = Arc::new(Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.invoke(RemotingCommand::request(HELD), LIMIT * 10).await })
        })
        .collect();
    eventually("held", || echo.held.lock().unwrap().len() == 3).await;
    echo.sessions.lock().unwrap()[0].close();
    for waiting in waiting {
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, InvokeError::Lost { .. }), "{error}");
        assert!(error.effect_is_unknown());
    }
    client.closed().await;
    let error = client.invoke(RemotingCommand::request(1), LIMIT).await.unwrap_err();
    assert!(matches!(error, InvokeError::NotSent { .. }), "{error}");
    assert!(!error.effect_is_unknown());
    assert!(client.oneway(RemotingCommand::request(1)).is_err());
}

#[tokio::test]
async fn no_answer_is_a_timeout_that_knows_it_was_written() {
    let (server, _) = start(ServerConfig::default()).await;
    let client = Client::connect(&server.local_addr().to_string(), LIMIT).await.unwrap();
    let timeout = Duration::from_millis(50);
    let error = client.invoke(RemotingCommand::request(HELD), timeout).await.unwrap_err();
    assert!(matches!(error, InvokeError::Timeout { written: true, .. }), "{error}");
    assert_eq!(client.invoke(RemotingCommand::request(1), LIMIT).await.unwrap().code, 0);
}

#[tokio::test]
async fn nobody_listening_is_an_error_that_names_the_address() {
    let (server, _) = start(ServerConfig::default()).await;
    let address = server.local_addr().to_string();
    server.shutdown(Duration::ZERO).await;
    let error = Client::connect(&address, LIMIT).await.err().unwrap();
    assert!(error.to_string().contains(&address), "{error}");
}
