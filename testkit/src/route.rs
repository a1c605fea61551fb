//! Asks a name server who leads, with one request of the remoting protocol.

use std::time::Duration;

use crate::remoting::Connection;

const GET_BROKER_CLUSTER_INFO: i32 = 106;
const LIMIT: Duration = Duration::from_secs(3);

/// Addresses of a broker group by brokerId, as the name server at `name_server` shows them; 0 is whoever leads.
/// `None` when it does not answer or does not know the group.
pub fn broker_addresses(name_server: &str, broker_name: &str) -> Option<Vec<(u64, String)>> {
    let answer =
        Connection::open(name_server, LIMIT).and_then(|mut at| at.ask(GET_BROKER_CLUSTER_INFO, &[], &[])).ok()?;
    addresses_in(&answer.text(), broker_name)
}

/// Reads `"brokerAddrs":{0:"host:port",1:"…"}` of one broker; the keys may be quoted or, as fastjson writes, not.
fn addresses_in(body: &str, broker_name: &str) -> Option<Vec<(u64, String)>> {
    let table = &body[body.find("\"brokerAddrTable\"")?..];
    let broker = &table[table.find(&format!("\"{broker_name}\""))?..];
    let addresses = &broker[broker.find("\"brokerAddrs\":{")? + 15..];
    let mut found = Vec::new();
    for pair in addresses[..addresses.find('}')?].split(',').filter(|pair| !pair.is_empty()) {
        let (id, address) = pair.split_once(':')?;
        found.push((id.trim_matches('"').parse().ok()?, address.trim_matches('"').to_owned()));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_bare_and_with_quoted_ids() {
        let expected = Some(vec![(0, "127.0.0.1:10911".to_owned()), (2, "127.0.0.1:10931".to_owned())]);
        for body in [
            r#"{"brokerAddrTable":{"a":{"brokerAddrs":{0:"127.0.0.1:10911",2:"127.0.0.1:10931"},"brokerName":"a"}}}"#,
            r#"{"brokerAddrTable":{"a":{"brokerAddrs":{"0":"127.0.0.1:10911","2":"127.0.0.1:10931"}}},"clusterAddrTable":{}}"#,
        ] {
            assert_eq!(addresses_in(body, "a"), expected);
        }
        assert_eq!(addresses_in("{}", "a"), None);
    }
}
