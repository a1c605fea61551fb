use std::time::Duration;

/// Settings shared by the producers and consumers of one [`ClientInstance`](crate::ClientInstance). Defaults are
/// RocketMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// `host:port` each. They hold the same routes; one is used until it fails.
    pub name_servers: Vec<String>,
    /// How often the routes of topics in use are fetched again (`pollNameServerInterval`, 30 s).
    pub route_refresh: Duration,
    /// How often brokers hear that we live (`heartbeatBrokerInterval`, 30 s).
    pub heartbeat: Duration,
    /// How often a consumer looks at who else consumes (20 s).
    pub rebalance: Duration,
    /// How often consumed offsets go to the broker (`persistConsumerOffsetInterval`, 5 s).
    pub offset_commit: Duration,
    /// 3 s.
    pub connect_timeout: Duration,
    /// For questions to name servers and brokers that nobody waits on for longer (5 s).
    pub request_timeout: Duration,
}

impl ClientConfig {
    /// Defaults for the name servers in `addresses`, which are separated by `;` or `,`.
    pub fn new(addresses: &str) -> ClientConfig {
        ClientConfig {
            name_servers: parse_addresses(addresses),
            route_refresh: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
            rebalance: Duration::from_secs(20),
            offset_commit: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(5),
        }
    }
}

fn parse_addresses(addresses: &str) -> Vec<String> {
    addresses.split([';', ',']).map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_of_addresses_work() {
        assert_eq!(parse_addresses("a:1;b:2, c:3;"), ["a:1", "b:2", "c:3"]);
    }
}
