//! Compression of contents.
//!
//! ```text
//! stored = header id (u32, big-endian) ‖ codec stream
//! ```
//!
//! The header id names the algorithm; the index entry of a content repeats it, and has the original length. The
//! compressed form is used only when it is strictly shorter than the original, header included. Encoders need not agree
//! byte for byte, only the decoders must read every stream; so the levels here are those with about the ratio of
//! kopia's own encoders. Names that differ only in how kopia's encoder spreads the work over threads (`pgzip`,
//! `s2-parallel-*`) are the same codec.
//!
//! Streams come out of authenticated storage, but a wrong index entry or a bug in some writer must not exhaust memory
//! or pass for data: a decoder gets a limit and never believes a length that a stream claims, and streams that are cut
//! or followed by more bytes are errors.
//!
//! Format page 04 §4.2.

use std::cell::RefCell;
use std::fmt;
use std::io::Cursor;
use std::str::FromStr;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use minlz::s2::Encoder;
use zstd::zstd_safe::{self, DCtx};

use super::error::FormatError;
use super::{by_name, s2};

const HEADER_LENGTH: usize = 4;

/// Bytes that may be asked for before anything is decoded: the longest chunk of a splitter.
const MOST_IN_ADVANCE: usize = 16 << 20;

/// The window of deflate, in bits.
const DEFLATE_WINDOW_BITS: u8 = 15;

/// A compressor of a policy, and the `compression` of an index entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompressionAlgorithm {
    Gzip,
    GzipBestSpeed,
    GzipBestCompression,
    Zstd,
    ZstdFastest,
    ZstdBetterCompression,
    ZstdBestCompression,
    S2Default,
    S2Better,
    S2Parallel4,
    S2Parallel8,
    Pgzip,
    PgzipBestSpeed,
    PgzipBestCompression,
    DeflateDefault,
    DeflateBestSpeed,
    DeflateBestCompression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Deflate(Framing, u32),
    Zstd(i32),
    S2(s2::Effort),
}

/// What is around a deflate stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Gzip,
    Raw,
}

const LZ4_NAME: &str = "lz4";
const LZ4_HEADER_ID: u32 = 0x1400;

const WHAT: &str = "compression algorithm";

impl CompressionAlgorithm {
    pub const ALL: [Self; 17] = [
        Self::Gzip,
        Self::GzipBestSpeed,
        Self::GzipBestCompression,
        Self::Zstd,
        Self::ZstdFastest,
        Self::ZstdBetterCompression,
        Self::ZstdBestCompression,
        Self::S2Default,
        Self::S2Better,
        Self::S2Parallel4,
        Self::S2Parallel8,
        Self::Pgzip,
        Self::PgzipBestSpeed,
        Self::PgzipBestCompression,
        Self::DeflateDefault,
        Self::DeflateBestSpeed,
        Self::DeflateBestCompression,
    ];

    fn parameters(self) -> (&'static str, u32, Codec) {
        match self {
            Self::Gzip => ("gzip", 0x1000, Codec::Deflate(Framing::Gzip, 6)),
            Self::GzipBestSpeed => ("gzip-best-speed", 0x1001, Codec::Deflate(Framing::Gzip, 1)),
            Self::GzipBestCompression => ("gzip-best-compression", 0x1002, Codec::Deflate(Framing::Gzip, 9)),
            Self::Zstd => ("zstd", 0x1100, Codec::Zstd(3)),
            Self::ZstdFastest => ("zstd-fastest", 0x1101, Codec::Zstd(1)),
            Self::ZstdBetterCompression => ("zstd-better-compression", 0x1102, Codec::Zstd(6)),
            Self::ZstdBestCompression => ("zstd-best-compression", 0x1103, Codec::Zstd(9)),
            Self::S2Default => ("s2-default", 0x1200, Codec::S2(s2::Effort::Default)),
            Self::S2Better => ("s2-better", 0x1201, Codec::S2(s2::Effort::Better)),
            Self::S2Parallel4 => ("s2-parallel-4", 0x1202, Codec::S2(s2::Effort::Default)),
            Self::S2Parallel8 => ("s2-parallel-8", 0x1203, Codec::S2(s2::Effort::Default)),
            Self::Pgzip => ("pgzip", 0x1300, Codec::Deflate(Framing::Gzip, 6)),
            Self::PgzipBestSpeed => ("pgzip-best-speed", 0x1301, Codec::Deflate(Framing::Gzip, 1)),
            Self::PgzipBestCompression => ("pgzip-best-compression", 0x1302, Codec::Deflate(Framing::Gzip, 9)),
            Self::DeflateDefault => ("deflate-default", 0x1500, Codec::Deflate(Framing::Raw, 6)),
            Self::DeflateBestSpeed => ("deflate-best-speed", 0x1501, Codec::Deflate(Framing::Raw, 1)),
            Self::DeflateBestCompression => ("deflate-best-compression", 0x1502, Codec::Deflate(Framing::Raw, 9)),
        }
    }

    pub fn name(self) -> &'static str {
        self.parameters().0
    }

    pub fn header_id(self) -> u32 {
        self.parameters().1
    }

    /// Readable and writable, but not to be offered for new policies.
    pub fn is_deprecated(self) -> bool {
        self == Self::ZstdBestCompression
    }

    pub fn from_header_id(id: u32) -> Result<Self, FormatError> {
        if id == LZ4_HEADER_ID {
            return Err(lz4_removed());
        }
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.header_id() == id);
        found.ok_or_else(|| FormatError::unknown(WHAT, format!("{id:#06x}")))
    }
}

fn lz4_removed() -> FormatError {
    FormatError::Removed {
        what: WHAT,
        name: LZ4_NAME.to_owned(),
        advice: "kopia 0.22.3 is the last version that knows it; restore with that what is stored so",
    }
}

impl FromStr for CompressionAlgorithm {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        if name == LZ4_NAME {
            return Err(lz4_removed());
        }
        by_name(WHAT, &Self::ALL, Self::name, name)
    }
}

impl fmt::Display for CompressionAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Compresses with every algorithm. Keeps the tables of zstd and S2, some MiB, from one use to the next: one per thread.
#[derive(Default)]
pub struct Compressor {
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
    s2: Encoder,
}

impl Compressor {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the compressed form of `input` to `out`, if it is strictly shorter than `input`; otherwise answers false
    /// and leaves `out` as it was, for the input to be stored as it is.
    pub fn compress(
        &mut self,
        algorithm: CompressionAlgorithm,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, FormatError> {
        let start = out.len();
        let (name, header_id, codec) = algorithm.parameters();
        out.extend_from_slice(&header_id.to_be_bytes());
        let result = match codec {
            Codec::Zstd(level) => self.compress_zstd(level, input, out),
            Codec::Deflate(framing, level) => compress_deflate(framing, level, input, out),
            Codec::S2(effort) => {
                s2::encode(&mut self.s2, effort, input, out);
                Ok(())
            }
        };
        let shorter = result.is_ok() && out.len() - start < input.len();
        if !shorter {
            out.truncate(start);
        }
        result.map(|()| shorter).map_err(|detail| FormatError::Compression { algorithm: name, detail })
    }

    fn compress_zstd(&mut self, level: i32, input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let compressor = match &mut self.zstd {
            Some((of_level, compressor)) if *of_level == level => compressor,
            Some((of_level, compressor)) => {
                compressor.set_compression_level(level).map_err(|error| error.to_string())?;
                *of_level = level;
                compressor
            }
            none => {
                let compressor = zstd::bulk::Compressor::new(level).map_err(|error| error.to_string())?;
                &mut none.insert((level, compressor)).1
            }
        };
        out.reserve(zstd_safe::compress_bound(input.len()));
        let mut rest = Cursor::new(out);
        rest.set_position(rest.get_ref().len() as u64);
        compressor.compress_to_buffer(input, &mut rest).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

fn compress_deflate(framing: Framing, level: u32, input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let compression = flate2::Compression::new(level);
    // Made anew: at level 1 the library's reset of a stream that was left unfinished makes the next stream corrupt.
    let mut compress = match framing {
        Framing::Gzip => Compress::new_gzip(compression, DEFLATE_WINDOW_BITS),
        Framing::Raw => Compress::new(compression, false),
    };
    // The worst case is level 1 with its fixed codes of up to nine bits a byte.
    out.reserve(input.len() + input.len() / 8 + 64);
    match compress.compress_vec(input, out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) if compress.total_in() == input.len() as u64 => Ok(()),
        Ok(_) => Err("the encoder did not come to its end".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is known about the length of decompressed data, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// From an index entry. Any other length is an error.
    Exact(usize),
    AtMost(usize),
}

impl Length {
    pub(super) fn limit(self) -> usize {
        match self {
            Self::Exact(length) | Self::AtMost(length) => length,
        }
    }

    /// How much space to make before anything is decoded. A stream that decodes to more makes it grow.
    pub(super) fn capacity_for(self, stream: &[u8]) -> usize {
        match self {
            Self::Exact(length) => length.min(stream.len().saturating_mul(4).max(MOST_IN_ADVANCE)),
            Self::AtMost(limit) => limit.min(stream.len().saturating_mul(4).max(64 << 10)),
        }
    }

    /// Makes space in `decoded` for `additional` bytes, and for more as long as it stays within the limit.
    pub(super) fn make_room(self, decoded: &mut Vec<u8>, additional: usize) {
        if decoded.capacity() - decoded.len() < additional {
            let within_limit = self.limit().saturating_sub(decoded.len());
            decoded.reserve_exact(decoded.len().max(64 << 10).min(within_limit).max(additional));
        }
    }
}

/// The original of `stored`, which is header id ‖ codec stream; `expected` is the algorithm that the index entry names.
pub fn decompress(
    stored: &[u8],
    expected: Option<CompressionAlgorithm>,
    length: Length,
) -> Result<Vec<u8>, FormatError> {
    let (header, stream) = stored
        .split_first_chunk::<HEADER_LENGTH>()
        .ok_or_else(|| FormatError::corrupt("compressed data", "shorter than its header"))?;
    let header_id = u32::from_be_bytes(*header);
    let algorithm = match expected {
        Some(expected) if expected.header_id() == header_id => expected,
        Some(expected) => {
            let detail =
                format!("header {header_id:#06x} instead of that of {expected}, {:#06x}", expected.header_id());
            return Err(FormatError::corrupt("compressed data", detail));
        }
        None => CompressionAlgorithm::from_header_id(header_id)?,
    };
    let (name, _, codec) = algorithm.parameters();
    let decoded = match codec {
        Codec::Zstd(_) => decompress_zstd(stream, length),
        Codec::Deflate(Framing::Gzip, _) => decompress_gzip(stream, length),
        Codec::Deflate(Framing::Raw, _) => decompress_deflate(stream, length),
        Codec::S2(_) => s2::decode(stream, length),
    };
    let decoded = decoded.map_err(|detail| FormatError::corrupt(name, detail))?;
    match length {
        Length::Exact(exact) if decoded.len() != exact => {
            Err(FormatError::corrupt(name, format!("decompressed to {} bytes instead of {exact}", decoded.len())))
        }
        Length::Exact(_) | Length::AtMost(_) => Ok(decoded),
    }
}

/// The original of a gzip stream, which may have several members.
pub fn gunzip(stream: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    decompress_gzip(stream, Length::AtMost(limit)).map_err(|detail| FormatError::corrupt("gzip", detail))
}

thread_local! {
    /// Making one takes longer than decoding a directory listing.
    static ZSTD_DECODER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Decodes in one call straight into the result, which needs no window buffer, whatever window the frame asks for.
fn decompress_zstd(stream: &[u8], length: Length) -> Result<Vec<u8>, String> {
    if stream.is_empty() {
        return Err("no frame".to_owned());
    }
    ZSTD_DECODER.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            none => none.insert(DCtx::try_create().ok_or("out of memory")?),
        };
        decompress_zstd_with(context, stream, length)
    })
}

fn decompress_zstd_with(context: &mut DCtx<'static>, stream: &[u8], length: Length) -> Result<Vec<u8>, String> {
    let too_small = (zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();
    let mut capacity = length.capacity_for(stream);
    loop {
        let mut decoded = Vec::with_capacity(capacity);
        match context.decompress(&mut decoded, stream) {
            Ok(_) => return Ok(decoded),
            Err(code) if code == too_small && capacity < length.limit() => {
                capacity = length.limit().min(capacity.saturating_mul(4));
            }
            Err(code) if code == too_small => return Err(too_long(length)),
            Err(code) => return Err(zstd_safe::get_error_name(code).to_owned()),
        }
    }
}

fn decompress_gzip(mut stream: &[u8], length: Length) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::with_capacity(length.capacity_for(stream));
    // Members may follow each other; the originals are joined.
    loop {
        let consumed = inflate(Decompress::new_gzip(DEFLATE_WINDOW_BITS), stream, length, &mut decoded)?;
        stream = stream.get(consumed..).unwrap_or_default();
        if stream.is_empty() {
            return Ok(decoded);
        }
    }
}

fn decompress_deflate(stream: &[u8], length: Length) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::with_capacity(length.capacity_for(stream));
    let consumed = inflate(Decompress::new(false), stream, length, &mut decoded)?;
    if consumed != stream.len() {
        return Err(format!("{} bytes after the end of the stream", stream.len() - consumed));
    }
    Ok(decoded)
}

/// Decodes one deflate stream or gzip member, and answers how many bytes it took.
fn inflate(mut decompress: Decompress, stream: &[u8], length: Length, decoded: &mut Vec<u8>) -> Result<usize, String> {
    loop {
        let (consumed, produced) = (decompress.total_in(), decoded.len());
        let rest = stream.get(consumed as usize..).unwrap_or_default();
        let status =
            decompress.decompress_vec(rest, decoded, FlushDecompress::Finish).map_err(|error| error.to_string())?;
        if decoded.len() > length.limit() {
            return Err(too_long(length));
        }
        if status == Status::StreamEnd {
            return Ok(decompress.total_in() as usize);
        }
        if decoded.len() == decoded.capacity() {
            // At the limit, one byte beyond it is enough to see that there is more.
            length.make_room(decoded, 1);
        } else if decompress.total_in() == consumed && decoded.len() == produced {
            return Err("the stream is cut".to_owned());
        }
    }
}

pub(super) fn too_long(length: Length) -> String {
    format!("decompresses to more than {} bytes", length.limit())
}

#[cfg(test)]
mod tests;
