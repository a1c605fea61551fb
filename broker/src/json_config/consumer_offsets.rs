use std::collections::BTreeMap;
use std::fmt::Write;

use raftmq_model::offset::QueueOffset;
use raftmq_remoting::body::ConsumerOffsetSerializeWrapper;

use crate::state_machine::{ConsumerOffsetTable, QueueOffsets};

/// Queue ids are written without quotes, and all of one topic and group on one line: so does fastjson with integer
/// keys.
pub(super) fn write(table: &ConsumerOffsetTable) -> String {
    let mut sorted = BTreeMap::new();
    table.for_each(|group, topic, offsets| {
        let mut line = String::new();
        for (queue_id, offset) in offsets {
            let separator = if line.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(line, "{separator}{queue_id}:{offset}");
        }
        sorted.insert(format!("{topic}@{group}"), line);
    });
    let mut text = "{\n\t\"offsetTable\":{".to_owned();
    for (index, (key, line)) in sorted.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let key = serde_json::Value::from(key.as_str());
        let _ = write!(text, "{separator}\n\t\t{key}:{{{line}\n\t\t}}");
    }
    text.push_str(if sorted.is_empty() { "}\n}" } else { "\n\t}\n}" });
    text
}

pub(super) fn parse(content: &[u8]) -> Result<Vec<(String, String, QueueOffsets)>, String> {
    let file = ConsumerOffsetSerializeWrapper::parse(content).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    for (key, offsets) in file.offset_table {
        // Topic names have no @ in them; RocketMQ ignores keys without one too.
        let Some((topic, group)) = key.split_once('@') else { continue };
        let offsets = offsets.into_iter().filter_map(|(queue_id, offset)| {
            // A negative offset means "none" to clients.
            Some((queue_id, QueueOffset(u64::try_from(offset).ok()?)))
        });
        entries.push((group.to_owned(), topic.to_owned(), offsets.collect()));
    }
    Ok(entries)
}
