//! Texts as RocketMQ's Java classes print them, for people and scripts that look for them.

use std::net::SocketAddr;

use raftmq_client::{ReceivedMessage, SendResult};

/// Java's `SendResult.toString`.
pub(crate) fn send_result(result: &SendResult) -> String {
    let queue = &result.queue;
    format!(
        "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue=MessageQueue [topic={}, brokerName={}, \
         queueId={}], queueOffset={}]",
        result.status.name(),
        result.msg_id,
        result.offset_msg_id,
        queue.topic,
        queue.broker_name,
        queue.queue_id,
        result.queue_offset,
    )
}

/// Java's `MessageExt.toString`.
pub(crate) fn message(message: &ReceivedMessage) -> String {
    let host = |host: SocketAddr| format!("/{host}");
    let properties: Vec<String> = message.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let body: Vec<String> = message.body.iter().map(|byte| (*byte as i8).to_string()).collect();
    format!(
        "MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, \
         bornHost={}, storeTimestamp={}, storeHost={}, msgId={}, commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, \
         preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={}, properties={{{}}}, body=[{}], \
         transactionId='null'}}]",
        message.queue.broker_name,
        message.queue.queue_id,
        message.store_size_bytes,
        message.queue_offset,
        message.sys_flag,
        message.born_timestamp,
        host(message.born_host),
        message.store_timestamp,
        host(message.store_host),
        message.id(),
        message.physical_offset,
        message.body_crc,
        message.reconsume_times,
        message.prepared_transaction_offset,
        message.queue.topic,
        message.flag,
        properties.join(", "),
        body.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use raftmq_client::SendStatus;
    use raftmq_model::offset::{PhysicalOffset, QueueOffset};
    use raftmq_model::queue::MessageQueue;

    use super::*;

    fn queue() -> MessageQueue {
        MessageQueue { broker_name: "broker-a".to_owned(), queue_id: 3, topic: "TopicTest".to_owned() }
    }

    #[test]
    fn send_results_read_as_javas() {
        let result = SendResult {
            status: SendStatus::Ok,
            msg_id: "7F01".to_owned(),
            offset_msg_id: "7F02".to_owned(),
            queue: queue(),
            queue_offset: QueueOffset(9),
        };
        assert_eq!(
            send_result(&result),
            "SendResult [sendStatus=SEND_OK, msgId=7F01, offsetMsgId=7F02, messageQueue=MessageQueue \
             [topic=TopicTest, brokerName=broker-a, queueId=3], queueOffset=9]"
        );
    }

    #[test]
    fn messages_read_as_javas() {
        let text = message(&ReceivedMessage {
            queue: queue(),
            queue_offset: QueueOffset(1),
            physical_offset: PhysicalOffset(2),
            body: b"a\xff".as_slice().into(),
            body_crc: 3,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 4,
            born_host: "127.0.0.1:5".parse().unwrap(),
            store_timestamp: 6,
            store_host: "127.0.0.1:7".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            store_size_bytes: 8,
            properties: [("TAGS".to_owned(), "TagA".to_owned()), ("UNIQ_KEY".to_owned(), "id".to_owned())].into(),
        });
        assert_eq!(
            text,
            "MessageExt [brokerName=broker-a, queueId=3, storeSize=8, queueOffset=1, sysFlag=0, bornTimestamp=4, \
             bornHost=/127.0.0.1:5, storeTimestamp=6, storeHost=/127.0.0.1:7, msgId=id, commitLogOffset=2, bodyCRC=3, \
             reconsumeTimes=0, preparedTransactionOffset=0, toString()=Message{topic='TopicTest', flag=0, \
             properties={TAGS=TagA, UNIQ_KEY=id}, body=[97, -1], transactionId='null'}]"
        );
    }
}
