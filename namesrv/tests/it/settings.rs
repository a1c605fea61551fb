use raftmq_remoting::{request_code, response_code};
use raftmq_sys::{Disk, RealDisk};

use super::*;

fn setting(code: i32, fields: &[(&'static str, &str)]) -> RemotingCommand {
    fields.iter().fold(RemotingCommand::request(code), |request, (name, value)| request.with_field(*name, *value))
}

#[tokio::test]
async fn settings_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let client = connect(&running).await;
    let missing = [("namespace", "N"), ("key", "k")];
    let answer = ask(&client, setting(request_code::GET_KV_CONFIG, &missing)).await;
    assert_eq!(answer.code, response_code::QUERY_NOT_FOUND);
    assert_eq!(answer.remark.as_deref(), Some("No config item, Namespace: N Key: k"));
    for (key, value) in [("k", "v"), ("l", "w")] {
        let fields = [("namespace", "N"), ("key", key), ("value", value)];
        assert_eq!(ask(&client, setting(request_code::PUT_KV_CONFIG, &fields)).await.code, response_code::SUCCESS);
    }
    ask(&client, setting(request_code::DELETE_KV_CONFIG, &[("namespace", "N"), ("key", "l")])).await;
    running.shutdown().await;

    let running = name_server(folder.path()).await;
    let client = connect(&running).await;
    let answer = ask(&client, setting(request_code::GET_KV_CONFIG, &missing)).await;
    assert_eq!(answer.fields.get("value").as_deref(), Some("v"));
    let answer = ask(&client, setting(request_code::GET_KVLIST_BY_NAMESPACE, &[("namespace", "N")])).await;
    assert_eq!(text(&answer), "{\"table\":{\"k\":\"v\"}}");
    running.shutdown().await;
}

#[tokio::test]
async fn the_order_of_a_topic_is_in_its_route_when_configured() {
    let folder = tempfile::tempdir().unwrap();
    let running = name_server(folder.path()).await;
    let client = connect(&running).await;
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "broker-a:8")];
    ask(&client, setting(request_code::PUT_KV_CONFIG, &order)).await;
    let registered = ask(&client, registration("a:1", 0, 1, &["T"], false)).await;
    assert_eq!(text(&registered), "{\"table\":{\"T\":\"broker-a:8\"}}", "brokers are told");
    assert!(!text(&ask(&client, route_of("T")).await).contains("orderTopicConf"));
    let update = RemotingCommand::request(request_code::UPDATE_NAMESRV_CONFIG);
    ask(&client, update.with_body("orderMessageEnable=true\n")).await;
    assert!(text(&ask(&client, route_of("T")).await).contains("\"orderTopicConf\":\"broker-a:8\""));
    running.shutdown().await;
}

#[tokio::test]
async fn the_configuration_is_changed_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("namesrv.conf");
    let disk = RealDisk::new();
    disk.replace(&file, b"# mine\norderMessageEnable = false\n").unwrap();
    let running = name_server(folder.path()).await;
    let client = connect(&running).await;
    let update = |text: &'static str| RemotingCommand::request(request_code::UPDATE_NAMESRV_CONFIG).with_body(text);

    let refused = ask(&client, update("orderMessageEnable=true\nkvConfigPath=/x\n")).await;
    assert_eq!(refused.code, response_code::NO_PERMISSION);
    assert_eq!(refused.remark.as_deref(), Some("Can not update config in black list."));
    let unknown = ask(&client, update("orderMessageEnable=true\ncolour=red\n")).await;
    assert_eq!(unknown.remark.as_deref(), Some("unknown key `colour`"));
    assert_eq!(disk.read(&file).unwrap(), b"# mine\norderMessageEnable = false\n");

    assert_eq!(ask(&client, update("orderMessageEnable=true\n")).await.code, response_code::SUCCESS);
    assert_eq!(disk.read(&file).unwrap(), b"# mine\norderMessageEnable = true\n");
    let dump = ask(&client, RemotingCommand::request(request_code::GET_NAMESRV_CONFIG)).await;
    assert!(text(&dump).contains("\norderMessageEnable=true\n"), "{}", text(&dump));
    running.shutdown().await;
}
