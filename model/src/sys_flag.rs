//! Bits of a message's `sysFlag` (RocketMQ `MessageSysFlag`) and of a pull request's (`PullSysFlag`).

pub const COMPRESSED: i32 = 1;
pub const MULTI_TAGS: i32 = 1 << 1;
pub const TRANSACTION_NOT: i32 = 0;
pub const TRANSACTION_PREPARED: i32 = 1 << 2;
pub const TRANSACTION_COMMIT: i32 = 2 << 2;
pub const TRANSACTION_ROLLBACK: i32 = 3 << 2;
pub const TRANSACTION_MASK: i32 = 3 << 2;
/// The born host is an IPv6 address: 16 bytes, not 4.
pub const BORN_HOST_V6: i32 = 1 << 4;
/// The store host is an IPv6 address: 16 bytes, not 4.
pub const STORE_HOST_V6: i32 = 1 << 5;

/// Whether a message with these flags takes a slot in its consume queue: prepared and rolled back ones do not.
pub fn takes_queue_offset(sys_flag: i32) -> bool {
    matches!(sys_flag & TRANSACTION_MASK, TRANSACTION_NOT | TRANSACTION_COMMIT)
}

/// Bits of a pull request.
pub mod pull {
    pub const COMMIT_OFFSET: i32 = 1;
    pub const SUSPEND: i32 = 1 << 1;
    pub const SUBSCRIPTION: i32 = 1 << 2;
    pub const CLASS_FILTER: i32 = 1 << 3;
    pub const LITE_PULL: i32 = 1 << 4;
}
