//! All tables as one run of bytes: a section per table, each with its own checksum (docs/commands.md, "Snapshot").

use super::tables::{LoadError, TableEntry, TableId, Tables};

/// `RMQS`.
const MAGIC: u32 = 0x524D_5153;
const FORMAT: u16 = 1;
const SECTION_VERSION: u16 = 1;
const SECTION_HEADER_BYTES: usize = 20;

/// Why a snapshot cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot of {size_bytes} bytes ends inside its {what}")]
    Short { what: &'static str, size_bytes: usize },
    #[error("{0:#010x} is not a snapshot's magic")]
    Magic(u32),
    #[error("snapshot format {0} is not known to this release")]
    Format(u16),
    #[error("snapshot section of table {table} version {version} is not known to this release")]
    Section { table: u16, version: u16 },
    #[error("snapshot section of table {table:?} occurs twice")]
    Twice { table: TableId },
    #[error("snapshot section of table {table:?} has checksum {found:#010x} instead of {expected:#010x}")]
    Checksum { table: TableId, expected: u32, found: u32 },
    #[error("{size_bytes} bytes follow the last section of the snapshot")]
    Trailing { size_bytes: usize },
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Equal tables give equal bytes.
pub(super) fn encode(tables: &Tables) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&(TableId::ALL.len() as u16).to_be_bytes());
    for table in TableId::ALL {
        let entries = tables.entries(table);
        let mut body = Vec::new();
        for (key, value) in &entries {
            body.extend_from_slice(&(key.len() as u32).to_be_bytes());
            body.extend_from_slice(&(value.len() as u32).to_be_bytes());
            body.extend_from_slice(key);
            body.extend_from_slice(value);
        }
        let start = out.len();
        out.extend_from_slice(&table.number().to_be_bytes());
        out.extend_from_slice(&SECTION_VERSION.to_be_bytes());
        out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
        out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), &body);
        out.extend_from_slice(&checksum.to_be_bytes());
        out.extend_from_slice(&body);
    }
    out
}

/// Replaces all tables; those without a section become empty. Nothing is replaced before every checksum was right.
pub(super) fn install(tables: &Tables, snapshot: &[u8]) -> Result<(), SnapshotError> {
    let sections = decode(snapshot)?;
    // Each table decodes all entries before it replaces its own.
    let scratch = Tables::default();
    for (table, entries) in &sections {
        scratch.load(*table, entries)?;
    }
    for table in TableId::ALL {
        let entries = sections.iter().find(|(found, _)| *found == table).map_or(&[][..], |(_, entries)| entries);
        tables.load(table, entries)?;
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    size_bytes: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], SnapshotError> {
        let size_bytes = self.size_bytes;
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(SnapshotError::Short { what, size_bytes })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], SnapshotError> {
        let mut number = [0; N];
        number.copy_from_slice(self.take(what, N)?);
        Ok(number)
    }
}

fn decode(snapshot: &[u8]) -> Result<Vec<(TableId, Vec<TableEntry>)>, SnapshotError> {
    let mut reader = Reader { bytes: snapshot, size_bytes: snapshot.len() };
    let magic = u32::from_be_bytes(reader.number("magic")?);
    if magic != MAGIC {
        return Err(SnapshotError::Magic(magic));
    }
    let format = u16::from_be_bytes(reader.number("format")?);
    if format != FORMAT {
        return Err(SnapshotError::Format(format));
    }
    let count = u16::from_be_bytes(reader.number("section count")?);
    let mut sections: Vec<(TableId, Vec<TableEntry>)> = Vec::new();
    for _ in 0..count {
        let section = decode_section(&mut reader)?;
        if sections.iter().any(|(table, _)| *table == section.0) {
            return Err(SnapshotError::Twice { table: section.0 });
        }
        sections.push(section);
    }
    match reader.bytes.len() {
        0 => Ok(sections),
        size_bytes => Err(SnapshotError::Trailing { size_bytes }),
    }
}

fn decode_section(reader: &mut Reader<'_>) -> Result<(TableId, Vec<TableEntry>), SnapshotError> {
    let header = reader.bytes;
    let number = u16::from_be_bytes(reader.number("section header")?);
    let version = u16::from_be_bytes(reader.number("section header")?);
    let table = TableId::from_number(number).filter(|_| version == SECTION_VERSION);
    let table = table.ok_or(SnapshotError::Section { table: number, version })?;
    let count = u32::from_be_bytes(reader.number("section header")?);
    let length = u64::from_be_bytes(reader.number("section header")?);
    let expected = u32::from_be_bytes(reader.number("section header")?);
    let size_bytes = reader.size_bytes;
    let length = usize::try_from(length).map_err(|_| SnapshotError::Short { what: "section", size_bytes })?;
    let body = reader.take("section", length)?;
    let found = crc32c::crc32c_append(crc32c::crc32c(&header[..SECTION_HEADER_BYTES - 4]), body);
    if found != expected {
        return Err(SnapshotError::Checksum { table, expected, found });
    }
    let mut body = Reader { bytes: body, size_bytes };
    let mut entries = Vec::new();
    for _ in 0..count {
        let key_length = u32::from_be_bytes(body.number("entry")?);
        let value_length = u32::from_be_bytes(body.number("entry")?);
        let key = body.take("entry", key_length as usize)?.to_vec();
        let value = body.take("entry", value_length as usize)?.to_vec();
        entries.push((key, value));
    }
    match body.bytes.len() {
        0 => Ok((table, entries)),
        size_bytes => Err(SnapshotError::Trailing { size_bytes }),
    }
}

#[cfg(test)]
mod tests {
    use raftmq_model::offset::QueueOffset;
    use raftmq_model::subscription::SubscriptionGroupConfig;
    use raftmq_model::topic::TopicConfig;

    use super::*;
    use crate::state_machine::command::{Command, OffsetCommit};
    use crate::state_machine::tables::Changes;

    fn example() -> Tables {
        let (tables, mut changes) = (Tables::default(), Changes::default());
        let at_unix_ms = 1_700_000_000_000;
        let commit =
            OffsetCommit { group: "cg".to_owned(), topic: "T".to_owned(), queue_id: 3, offset: QueueOffset(300) };
        for command in [
            Command::PutTopic { config: TopicConfig::new("T", 8, 6), from_auto_create: false, at_unix_ms },
            Command::PutTopic { config: TopicConfig::new("Gone", 1, 6), from_auto_create: false, at_unix_ms },
            Command::DeleteTopic { topic: "Gone".to_owned(), ends: vec![(0, QueueOffset(9))], at_unix_ms },
            Command::PutGroup { config: SubscriptionGroupConfig::new("cg"), from_auto_create: true, at_unix_ms },
            Command::CommitOffsets { commits: vec![commit] },
        ] {
            tables.apply(&command, &mut changes);
        }
        tables
    }

    #[test]
    fn snapshots_have_the_golden_bytes_of_the_docs() {
        let docs = include_str!("../../../docs/commands.md");
        let snapshot = encode(&example());
        let hex: String = snapshot.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<&str> = docs
            .lines()
            .skip_while(|line| !line.starts_with("<!-- snapshot -->"))
            .skip(2)
            .take_while(|line| *line != "```")
            .collect();
        assert_eq!(lines.concat(), hex, "the block after the mark <!-- snapshot -->");
    }

    #[test]
    fn snapshots_install_over_anything() {
        let (tables, mut changes) = (Tables::default(), Changes::default());
        let config = TopicConfig::new("Old", 8, 6);
        tables.apply(&Command::PutTopic { config, from_auto_create: false, at_unix_ms: 1 }, &mut changes);
        install(&tables, &encode(&example())).unwrap();
        assert!(!tables.topics.contains("Old"));
        assert_eq!(tables.topics.first_offset("Gone", 0), QueueOffset(9));
        assert_eq!(encode(&tables), encode(&example()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let snapshot = encode(&example());
        let tables = Tables::default();
        for at in 0..snapshot.len() {
            for bit in 0..8 {
                let mut flipped = snapshot.clone();
                flipped[at] ^= 1 << bit;
                assert!(install(&tables, &flipped).is_err(), "bit {bit} of byte {at}");
            }
            assert!(install(&tables, &snapshot[..at]).is_err(), "cut at {at}");
        }
        assert!(tables.topics.is_empty(), "nothing was replaced");
    }
}
