use raftmq_remoting::{request_code, response_code};

use super::*;

const ROUTE: &str = "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"127.0.0.1:10911\"},\"brokerName\":\"broker-a\",\
                     \"cluster\":\"DefaultCluster\"}],\"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\
                     \"broker-a\",\"perm\":6,\"readQueueNums\":8,\"topicSysFlag\":0,\"writeQueueNums\":8}]}";

#[tokio::test]
async fn a_registered_topic_has_a_route_until_its_broker_disconnects() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let (broker, client) = (connect(&running).await, connect(&running).await);

    let missing = ask(&client, route_of("T")).await;
    assert_eq!(missing.code, response_code::TOPIC_NOT_EXIST);
    assert!(missing.remark.unwrap().starts_with("No topic route info in name server for the topic: T\n"));

    for (counter, compressed) in [(1, false), (2, true)] {
        let topic = format!("T{counter}");
        let registered = ask(&broker, registration("127.0.0.1:10911", 0, counter, &[&topic], compressed)).await;
        assert_eq!((registered.code, registered.remark), (response_code::SUCCESS, None));
        let mut request = route_of(&topic);
        request.version = 401;
        assert_eq!(text(&ask(&client, request).await), ROUTE, "compressed: {compressed}");
        let mut request = route_of(&topic);
        request.version = 317;
        assert_eq!(text(&ask(&client, request).await), ROUTE.replace("\"0\":", "0:"));
    }
    let topics = ask(&client, RemotingCommand::request(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await;
    assert_eq!(text(&topics), "{\"topicList\":[\"T1\",\"T2\"]}");
    let cluster = ask(&client, RemotingCommand::request(request_code::GET_BROKER_CLUSTER_INFO)).await;
    assert_eq!(
        text(&cluster),
        "{\"brokerAddrTable\":{\"broker-a\":{\"brokerAddrs\":{0:\"127.0.0.1:10911\"},\"brokerName\":\"broker-a\",\
         \"cluster\":\"DefaultCluster\"}},\"clusterAddrTable\":{\"DefaultCluster\":[\"broker-a\"]}}"
    );

    drop(broker);
    while ask(&client, route_of("T1")).await.code == response_code::SUCCESS {
        tokio::task::yield_now().await;
    }
    running.shutdown().await;
}

#[tokio::test]
async fn a_wrong_checksum_or_a_lying_body_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let broker = connect(&running).await;
    let wrong = registration("a:1", 0, 1, &["T"], false).with_field("bodyCrc32", 7);
    let answer = ask(&broker, wrong).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (response_code::SYSTEM_ERROR, Some("crc32 not match")));
    let lying = registration("a:1", 0, 1, &["T"], true).with_body(&b"\x78\x9c\xff\xff"[..]);
    assert_eq!(ask(&broker, lying).await.code, response_code::SYSTEM_ERROR);
    let nameless = RemotingCommand::request(request_code::UNREGISTER_BROKER);
    let answer = ask(&broker, nameless).await;
    assert_eq!(answer.remark.as_deref(), Some("the custom field <brokerName> is null"));
    let answer = ask(&broker, RemotingCommand::request(4711)).await;
    assert_eq!(answer.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
    running.shutdown().await;
}

#[tokio::test]
async fn a_version_is_known_after_it_was_registered() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let broker = connect(&running).await;
    let query = |counter: i64| {
        let body = format!("{{\"counter\":{counter},\"timestamp\":1700000000000}}");
        identified(request_code::QUERY_DATA_VERSION, "a:1", 0).with_body(body)
    };
    let answer = ask(&broker, query(1)).await;
    assert_eq!((answer.fields.get("changed").as_deref(), text(&answer)), (Some("true"), ""));
    ask(&broker, registration("a:1", 0, 1, &["T"], false)).await;
    let answer = ask(&broker, query(1)).await;
    assert_eq!(answer.fields.get("changed").as_deref(), Some("false"));
    assert_eq!(text(&answer), "{\"counter\":1,\"timestamp\":1700000000000}");

    let heartbeat = ask(&broker, identified(request_code::BROKER_HEARTBEAT, "a:1", 0)).await;
    assert_eq!(heartbeat.code, response_code::SUCCESS);
    ask(&broker, identified(request_code::UNREGISTER_BROKER, "a:1", 0)).await;
    assert_eq!(ask(&broker, route_of("T")).await.code, response_code::TOPIC_NOT_EXIST);
    running.shutdown().await;
}

#[tokio::test]
async fn a_silent_broker_expires_after_the_time_it_named() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let broker = connect(&running).await;
    ask(&broker, registration("a:1", 0, 1, &["T"], false).with_field("heartbeatTimeoutMillis", 50)).await;
    while ask(&broker, route_of("T")).await.code == response_code::SUCCESS {
        tokio::task::yield_now().await;
    }
    running.shutdown().await;
}

#[tokio::test]
async fn permissions_topics_and_lists_can_be_changed_by_tools() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let broker = connect(&running).await;
    ask(&broker, registration("a:1", 0, 1, &["T", "U"], false)).await;
    let of_broker = |code| RemotingCommand::request(code).with_field("brokerName", "broker-a");
    let answer = ask(&broker, of_broker(request_code::WIPE_WRITE_PERM_OF_BROKER)).await;
    assert_eq!(answer.fields.get("wipeTopicCount").as_deref(), Some("2"));
    assert!(text(&ask(&broker, route_of("T")).await).contains("\"perm\":4,"));
    let answer = ask(&broker, of_broker(request_code::ADD_WRITE_PERM_OF_BROKER)).await;
    assert_eq!(answer.fields.get("addTopicCount").as_deref(), Some("2"));
    ask(&broker, RemotingCommand::request(request_code::DELETE_TOPIC_IN_NAMESRV).with_field("topic", "U")).await;
    let of_cluster = RemotingCommand::request(request_code::GET_TOPICS_BY_CLUSTER);
    let answer = ask(&broker, of_cluster.with_field("cluster", "DefaultCluster")).await;
    assert_eq!(text(&answer), "{\"topicList\":[\"T\"]}");
    let answer = ask(&broker, RemotingCommand::request(request_code::GET_SYSTEM_TOPIC_LIST_FROM_NS)).await;
    assert_eq!(text(&answer), "{\"brokerAddr\":\"a:1\",\"topicList\":[\"DefaultCluster\",\"broker-a\"]}");
    running.shutdown().await;
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let config = NamesrvConfig {
        bind_address: "127.0.0.1".to_owned(),
        listen_port: running.local_addr().port(),
        kv_config_path: folder.path().join("other.json").display().to_string(),
        ..NamesrvConfig::default()
    };
    let error = start(config, Seams::real()).await.err().expect("the port is taken").to_string();
    assert!(error.contains(&running.local_addr().to_string()), "{error}");
    assert!(error.contains("in use") && !error.contains('\n'), "{error}");
    running.shutdown().await;
}
