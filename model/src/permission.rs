//! Permission bits of topics and brokers (RocketMQ `PermName`).

pub const INHERIT: i32 = 1;
pub const WRITE: i32 = 1 << 1;
pub const READ: i32 = 1 << 2;
pub const PRIORITY: i32 = 1 << 3;

pub fn is_readable(permission: i32) -> bool {
    permission & READ != 0
}

pub fn is_writable(permission: i32) -> bool {
    permission & WRITE != 0
}

pub fn is_inherited(permission: i32) -> bool {
    permission & INHERIT != 0
}
