//! Responses in protobuf.

use super::{DELAY_MAX, DEPTH, ExportResponse, RETRY_INFO, Status, lossy, name_is_retry_info};
use crate::cursor::{Cursor, WireError, WireType};
use crate::writer::{begin_message, end_message, put_len_field, put_varint_field};
use std::time::Duration;

pub(super) fn put_response(response: &ExportResponse, out: &mut Vec<u8>) {
    let partial = begin_message(out, 1);
    if response.rejected != 0 {
        put_varint_field(out, 1, response.rejected as u64);
    }
    put_text(out, 2, &response.message);
    end_message(out, partial);
}

pub(super) fn response(body: &[u8]) -> Result<ExportResponse, WireError> {
    let mut response = ExportResponse::default();
    each_field(body, |field, value| match (field, value) {
        (1, Value::Bytes(partial)) => each_field(partial, |field, value| {
            match (field, value) {
                (1, Value::Varint(rejected)) => response.rejected = rejected as i64,
                (2, Value::Bytes(message)) => response.message = lossy(message),
                _ => {}
            }
            Ok(())
        }),
        _ => Ok(()),
    })?;
    Ok(response)
}

pub(super) fn put_status(status: &Status, out: &mut Vec<u8>) {
    if status.code != 0 {
        put_varint_field(out, 1, i64::from(status.code) as u64);
    }
    put_text(out, 2, &status.message);
    if let Some(delay) = status.retry_delay {
        let delay = delay.min(DELAY_MAX);
        let any = begin_message(out, 3);
        put_text(out, 1, RETRY_INFO);
        let info = begin_message(out, 2);
        let duration = begin_message(out, 1);
        if delay.as_secs() != 0 {
            put_varint_field(out, 1, delay.as_secs());
        }
        if delay.subsec_nanos() != 0 {
            put_varint_field(out, 2, u64::from(delay.subsec_nanos()));
        }
        end_message(out, duration);
        end_message(out, info);
        end_message(out, any);
    }
}

pub(super) fn status(bytes: &[u8]) -> Result<Status, WireError> {
    let mut status = Status::default();
    each_field(bytes, |field, value| {
        match (field, value) {
            (1, Value::Varint(code)) => status.code = code as i32,
            (2, Value::Bytes(message)) => status.message = lossy(message),
            (3, Value::Bytes(detail)) => status.retry_delay = retry_delay(detail)?.or(status.retry_delay),
            _ => {}
        }
        Ok(())
    })?;
    Ok(status)
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_len_field(out, field, text.as_bytes());
    }
}

/// The payload of a field that a response may have.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

fn each_field<'a>(
    message: &'a [u8],
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut cursor = Cursor::new(message);
    while !cursor.is_done() {
        let tag = cursor.tag()?;
        match tag.wire {
            WireType::Varint => each(tag.field, Value::Varint(cursor.varint()?))?,
            WireType::Len => each(tag.field, Value::Bytes(cursor.len_prefixed()?))?,
            _ => cursor.skip(tag, DEPTH)?,
        }
    }
    Ok(())
}

/// The delay in a `google.protobuf.Any`, if that is a `RetryInfo` with one.
fn retry_delay(any: &[u8]) -> Result<Option<Duration>, WireError> {
    let (mut is_retry_info, mut info) = (false, &[][..]);
    each_field(any, |field, value| {
        match (field, value) {
            (1, Value::Bytes(name)) => is_retry_info = name_is_retry_info(name),
            (2, Value::Bytes(value)) => info = value,
            _ => {}
        }
        Ok(())
    })?;
    let mut delay = None;
    if is_retry_info {
        each_field(info, |field, value| {
            let (1, Value::Bytes(duration)) = (field, value) else { return Ok(()) };
            let (mut secs, mut nanos) = (0i64, 0i64);
            each_field(duration, |field, value| {
                match (field, value) {
                    (1, Value::Varint(value)) => secs = value as i64,
                    (2, Value::Varint(value)) => nanos = value as i64,
                    _ => {}
                }
                Ok(())
            })?;
            let nanos = nanos.clamp(0, 999_999_999) as u32;
            delay = Some(
                u64::try_from(secs).map_or(Duration::ZERO, |secs| Duration::new(secs, nanos)).min(DELAY_MAX),
            );
            Ok(())
        })?;
    }
    Ok(delay)
}
