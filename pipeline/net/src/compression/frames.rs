//! What the heads of zstd and LZ4 frames make their decoders allocate, read before a decoder is let near them.

use lz4_flex::frame::FrameDecoder;
use std::io::{self, Read};

/// The largest window that is inflated; what RFC 8878 recommends decoders to support.
const WINDOW_MAX: u64 = 8 << 20;
/// A block of a zstd frame, at most.
const ZSTD_BLOCK: u64 = 128 << 10;
/// The tables of a zstd decoder, about.
const ZSTD_TABLES: u64 = 128 << 10;

const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// The upper 28 bits of the magic number of frames that decoders skip.
const SKIPPABLE: u32 = 0x0184_D2A5;
const LZ4_MAGIC: u32 = 0x184D_2204;
/// What linked LZ4 blocks refer back to.
const LZ4_WINDOW: u64 = 64 << 10;

/// What the heads of a body's zstd frames claim.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct ZstdClaims {
    /// The largest window of all frames.
    window_bytes: u64,
    /// The inflated size of all frames that say it.
    pub(super) content_bytes: u64,
}

impl ZstdClaims {
    /// What the decoder allocates besides its output.
    pub(super) fn working_bytes(&self) -> u64 {
        self.window_bytes + 2 * self.window_bytes.min(ZSTD_BLOCK) + ZSTD_TABLES
    }

    /// The least power of two that holds the window.
    pub(super) fn window_log(&self) -> u32 {
        self.window_bytes.max(1 << 10).next_power_of_two().trailing_zeros()
    }
}

/// Reads the heads of all frames of a body.
pub(super) fn zstd(body: &[u8]) -> io::Result<ZstdClaims> {
    let mut claims = ZstdClaims::default();
    let mut rest = body;
    loop {
        let magic = magic(rest)?;
        if magic >> 4 != SKIPPABLE {
            if magic != ZSTD_MAGIC {
                return Err(damaged("its magic number is another format's"));
            }
            let (window, content) = zstd_head(&rest[4..]).ok_or_else(cut_off)?;
            claims.content_bytes = claims.content_bytes.saturating_add(content.unwrap_or(0));
            claims.window_bytes = claims.window_bytes.max(window);
        }
        let len = zstd::zstd_safe::find_frame_compressed_size(rest).map_err(|_| cut_off())?;
        rest = rest.get(len..).filter(|_| len > 0).ok_or_else(cut_off)?;
        if rest.is_empty() {
            break;
        }
    }
    // The window of a single segment is its output, which has a limit of its own.
    if claims.window_bytes > WINDOW_MAX.max(claims.content_bytes) {
        return Err(damaged("its window is larger than 8 MiB"));
    }
    Ok(claims)
}

/// The window and, where it is given, the inflated size (RFC 8878, section 3.1.1.1), of what follows the magic number.
fn zstd_head(head: &[u8]) -> Option<(u64, Option<u64>)> {
    let (&descriptor, mut rest) = head.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    let mut window = 0;
    if !single_segment {
        let (&exponent_and_mantissa, after) = rest.split_first()?;
        let base = 1u64 << (10 + (exponent_and_mantissa >> 3));
        window = base + base / 8 * u64::from(exponent_and_mantissa & 7);
        rest = after;
    }
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_len = match descriptor >> 6 {
        0 => usize::from(single_segment),
        log => 1 << log,
    };
    let size = rest.get(dictionary_id..)?.get(..size_len)?;
    let mut content = size.iter().rev().fold(0, |content, &byte| content << 8 | u64::from(byte));
    if size_len == 2 {
        content += 256;
    }
    let content = (size_len > 0).then_some(content);
    Some((if single_segment { content? } else { window }, content))
}

/// A body of LZ4 frames as one stream. Unlike the decoder inside, it takes the end of the body for the end of a frame
/// only where that frame says so.
pub(super) struct Lz4Frames<'a> {
    decoder: FrameDecoder<Watched<'a>>,
    block_bytes: u64,
}

/// The rest of the body, and whether more was asked of it than it had.
struct Watched<'a> {
    rest: &'a [u8],
    ran_dry: bool,
}

impl<'a> Lz4Frames<'a> {
    pub(super) fn new(body: &'a [u8]) -> io::Result<Self> {
        let block_bytes = lz4_block_bytes(body)?;
        Ok(Self { decoder: FrameDecoder::new(Watched { rest: body, ran_dry: false }), block_bytes })
    }

    /// What the decoder of that body allocates besides its output: a block compressed, and two inflated with a window
    /// between them.
    pub(super) fn working_bytes(body: &[u8]) -> io::Result<u64> {
        Ok(3 * lz4_block_bytes(body)? + LZ4_WINDOW)
    }
}

impl Read for Lz4Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let input = self.decoder.get_ref();
            if input.ran_dry {
                return Err(cut_off());
            }
            if input.rest.is_empty() {
                return Ok(0);
            }
            if lz4_block_bytes(input.rest)? > self.block_bytes {
                return Err(damaged("a frame has larger blocks than the first"));
            }
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ran_dry |= self.rest.len() < buffer.len();
        self.rest.read(buffer)
    }
}

/// The largest block of a frame that begins here, inflated.
fn lz4_block_bytes(frame: &[u8]) -> io::Result<u64> {
    if magic(frame)? != LZ4_MAGIC {
        return Err(damaged("its magic number is another format's"));
    }
    let descriptor = *frame.get(5).ok_or_else(cut_off)?;
    match descriptor >> 4 & 7 {
        log @ 4..=7 => Ok(1 << (8 + 2 * log)),
        _ => Err(damaged("its block size is reserved")),
    }
}

fn magic(frame: &[u8]) -> io::Result<u32> {
    frame.first_chunk().map(|magic| u32::from_le_bytes(*magic)).ok_or_else(cut_off)
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off")
}

fn damaged(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zstd_window_is_what_its_encoder_was_told() {
        for window_log in 10..=22 {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
            encoder.window_log(window_log).expect("a window");
            io::Write::write_all(&mut encoder, b"some text").expect("writes");
            let body = encoder.finish().expect("finishes");
            let claims = zstd(&body).expect("a frame");
            assert_eq!((claims.window_log(), claims.content_bytes), (window_log, 0));
            assert_eq!(claims.window_bytes, 1 << window_log);
        }
    }

    #[test]
    fn a_zstd_window_above_8_mib_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(24).expect("a window");
        io::Write::write_all(&mut encoder, &[7; 100]).expect("writes");
        let body = encoder.finish().expect("finishes");
        assert_eq!(zstd(&body).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn the_content_size_of_zstd_frames_is_read_in_every_length_and_added_up() {
        let sizes = [0usize, 1, 255, 256, 257, 65_791, 65_792, 1 << 20];
        let mut all = Vec::new();
        for size in sizes {
            let body = zstd::bulk::compress(&vec![1; size], 1).expect("compresses");
            assert_eq!(zstd(&body).expect("a frame").content_bytes, size as u64);
            all.extend(body);
        }
        assert_eq!(zstd(&all).expect("frames").content_bytes, sizes.iter().sum::<usize>() as u64);
    }

    #[test]
    fn skippable_zstd_frames_are_stepped_over() {
        let mut body = vec![0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3];
        body.extend(zstd::bulk::compress(b"text", 1).expect("compresses"));
        assert_eq!(zstd(&body).expect("frames").content_bytes, 4);
    }

    #[test]
    fn an_lz4_block_size_is_what_its_encoder_was_told() {
        use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
        let sizes = [
            (BlockSize::Max64KB, 64 << 10),
            (BlockSize::Max256KB, 256 << 10),
            (BlockSize::Max1MB, 1 << 20),
            (BlockSize::Max4MB, 4 << 20),
        ];
        for (size, bytes) in sizes {
            let mut encoder = FrameEncoder::with_frame_info(FrameInfo::new().block_size(size), Vec::new());
            io::Write::write_all(&mut encoder, b"text").expect("writes");
            let body = encoder.finish().expect("finishes");
            assert_eq!(lz4_block_bytes(&body).ok(), Some(bytes));
        }
    }
}
