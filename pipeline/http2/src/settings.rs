//! What each side asks of the other (RFC 9113, section 6.5).

use crate::frame::{Fatal, MAX_31, kind, put_head};

/// The length of frames that everybody takes.
pub(crate) const FRAME_MIN: u32 = 1 << 14;
/// The window that every stream and every connection begins with.
pub(crate) const WINDOW_FIRST: u32 = 65_535;
/// The size of HPACK's table that every connection begins with.
pub(crate) const TABLE_FIRST: u32 = 4096;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// One thing that the peer asks for, as far as it concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    TableSize(u32),
    Window(u32),
    FrameSize(u32),
    /// It does not concern us.
    Other,
}

/// Reads one setting of six bytes.
pub(crate) fn read(setting: [u8; 6]) -> Result<Asked, Fatal> {
    let [a, b, value @ ..] = setting;
    let value = u32::from_be_bytes(value);
    match u16::from_be_bytes([a, b]) {
        HEADER_TABLE_SIZE => Ok(Asked::TableSize(value)),
        ENABLE_PUSH | ENABLE_CONNECT_PROTOCOL if value > 1 => {
            Err(Fatal::protocol("a setting is neither on nor off"))
        }
        INITIAL_WINDOW_SIZE if value > MAX_31 => Err(Fatal::flow("a window is too large")),
        INITIAL_WINDOW_SIZE => Ok(Asked::Window(value)),
        MAX_FRAME_SIZE if !(FRAME_MIN..1 << 24).contains(&value) => {
            Err(Fatal::protocol("the size of frames is out of bounds"))
        }
        MAX_FRAME_SIZE => Ok(Asked::FrameSize(value)),
        _ => Ok(Asked::Other),
    }
}

/// Writes our first settings.
pub(crate) fn put_first(out: &mut Vec<u8>, max_streams: u32, window: u32, frame: u32, list: u32) {
    let all = [
        (MAX_CONCURRENT_STREAMS, max_streams),
        (INITIAL_WINDOW_SIZE, window),
        (MAX_FRAME_SIZE, frame),
        (MAX_HEADER_LIST_SIZE, list),
    ];
    put(out, &all);
}

/// Asks for another window of every stream.
pub(crate) fn put_window(out: &mut Vec<u8>, window: u32) {
    put(out, &[(INITIAL_WINDOW_SIZE, window)]);
}

fn put(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_head(out, 6 * settings.len(), kind::SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}
