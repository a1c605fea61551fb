//! Asks a name server who leads, with one raw request of the remoting protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const GET_BROKER_CLUSTER_INFO: i32 = 106;
const LIMIT: Duration = Duration::from_secs(3);

/// Addresses of a broker group by brokerId, as the name server at `name_server` shows them; 0 is whoever leads.
/// `None` when it does not answer or does not know the group.
pub fn broker_addresses(name_server: &str, broker_name: &str) -> Option<Vec<(u64, String)>> {
    let body = request(name_server, GET_BROKER_CLUSTER_INFO).ok()?;
    addresses_in(&body, broker_name)
}

fn request(name_server: &str, code: i32) -> std::io::Result<String> {
    let address = name_server.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let header = format!(
        r#"{{"code":{code},"language":"JAVA","version":409,"opaque":1,"flag":0,"serializeTypeCurrentRPC":"JSON"}}"#
    );
    let mut frame = Vec::new();
    frame.extend((4 + header.len() as u32).to_be_bytes());
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    stream.write_all(&frame)?;

    let mut lengths = [0; 8];
    stream.read_exact(&mut lengths)?;
    let total = u32::from_be_bytes([lengths[0], lengths[1], lengths[2], lengths[3]]) as usize;
    let header = u32::from_be_bytes([0, lengths[5], lengths[6], lengths[7]]) as usize;
    let mut rest = vec![0; total.saturating_sub(4).min(16 << 20)];
    stream.read_exact(&mut rest)?;
    let body = rest.get(header..).ok_or_else(|| std::io::Error::other("header longer than its frame"))?;
    Ok(String::from_utf8_lossy(body).into_owned())
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
