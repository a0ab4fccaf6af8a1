//! Splitting an object's bytes into chunks.
//!
//! `FIXED-n` cuts every `n` bytes. `DYNAMIC-n` cuts where the bytes say so, so that the same data is cut at the same
//! places although something before it was inserted or removed: after a byte when the hash of the last 64 bytes has its
//! low log2(n) bits all zero, but never before `n/2` bytes since the last cut and at the latest after `2n`. The two
//! rolling hashes are
//!
//! ```text
//! BUZHASH     32 bit   h = rotl(h, 1) ^ T[leaving] ^ T[entering]                       (rotl by 64 is no rotation)
//! RABINKARP   53 bit   h ^= LEAVING[leaving]; h = ((h << 8) | entering) ^ MODULO[h >> 45]
//! ```
//!
//! The object's stream has one hash that no cut resets, but the shortest chunk, 64 KiB, is far longer than the window:
//! at every place where a cut is possible the hash depends on bytes of the current chunk alone. Hence a splitter needs
//! no state. It is a function of the bytes since the last cut, and the cuts do not depend on how the bytes were fed.
//! For the same reason the search may begin anywhere, given the 64 bytes before. One rolling hash is a chain in which
//! each step waits for the last, so four of them run interleaved, each over its own segment.
//!
//! What remains at the end of an object is its last chunk; an empty object has one empty chunk.
//!
//! Format page 11.

use std::fmt;
use std::str::FromStr;

use super::by_name;
use super::error::FormatError;

mod tables;

/// The bytes that a rolling hash covers.
const WINDOW: usize = 64;

/// Rolling hashes computed at a time.
const LANES: usize = 4;

/// What a lane searches at a time: little enough that the work thrown away after a match does not matter, or
/// (for the rest of the bytes) just enough that hashing the window before it does not.
const LONG_SEGMENT: usize = 8 << 10;
const SHORT_SEGMENT: usize = 512;

/// The `splitter` of a repository or policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SplitterAlgorithm {
    /// An older name of `FIXED-4M`.
    Fixed,
    Fixed128K,
    Fixed256K,
    Fixed512K,
    Fixed1M,
    Fixed2M,
    Fixed4M,
    Fixed8M,
    /// An older name of `DYNAMIC-4M-BUZHASH`.
    Dynamic,
    Dynamic128KBuzhash,
    Dynamic256KBuzhash,
    Dynamic512KBuzhash,
    Dynamic1MBuzhash,
    Dynamic2MBuzhash,
    #[default]
    Dynamic4MBuzhash,
    Dynamic8MBuzhash,
    Dynamic128KRabinKarp,
    Dynamic256KRabinKarp,
    Dynamic512KRabinKarp,
    Dynamic1MRabinKarp,
    Dynamic2MRabinKarp,
    Dynamic4MRabinKarp,
    Dynamic8MRabinKarp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Fixed,
    Buzhash,
    RabinKarp,
}

impl SplitterAlgorithm {
    pub const ALL: [Self; 23] = [
        Self::Fixed,
        Self::Fixed128K,
        Self::Fixed256K,
        Self::Fixed512K,
        Self::Fixed1M,
        Self::Fixed2M,
        Self::Fixed4M,
        Self::Fixed8M,
        Self::Dynamic,
        Self::Dynamic128KBuzhash,
        Self::Dynamic256KBuzhash,
        Self::Dynamic512KBuzhash,
        Self::Dynamic1MBuzhash,
        Self::Dynamic2MBuzhash,
        Self::Dynamic4MBuzhash,
        Self::Dynamic8MBuzhash,
        Self::Dynamic128KRabinKarp,
        Self::Dynamic256KRabinKarp,
        Self::Dynamic512KRabinKarp,
        Self::Dynamic1MRabinKarp,
        Self::Dynamic2MRabinKarp,
        Self::Dynamic4MRabinKarp,
        Self::Dynamic8MRabinKarp,
    ];

    /// The name, the method, and the length of every chunk (fixed) or of an average one (dynamic).
    const fn parameters(self) -> (&'static str, Method, usize) {
        const K: usize = 1 << 10;
        const M: usize = 1 << 20;
        match self {
            Self::Fixed => ("FIXED", Method::Fixed, 4 * M),
            Self::Fixed128K => ("FIXED-128K", Method::Fixed, 128 * K),
            Self::Fixed256K => ("FIXED-256K", Method::Fixed, 256 * K),
            Self::Fixed512K => ("FIXED-512K", Method::Fixed, 512 * K),
            Self::Fixed1M => ("FIXED-1M", Method::Fixed, M),
            Self::Fixed2M => ("FIXED-2M", Method::Fixed, 2 * M),
            Self::Fixed4M => ("FIXED-4M", Method::Fixed, 4 * M),
            Self::Fixed8M => ("FIXED-8M", Method::Fixed, 8 * M),
            Self::Dynamic => ("DYNAMIC", Method::Buzhash, 4 * M),
            Self::Dynamic128KBuzhash => ("DYNAMIC-128K-BUZHASH", Method::Buzhash, 128 * K),
            Self::Dynamic256KBuzhash => ("DYNAMIC-256K-BUZHASH", Method::Buzhash, 256 * K),
            Self::Dynamic512KBuzhash => ("DYNAMIC-512K-BUZHASH", Method::Buzhash, 512 * K),
            Self::Dynamic1MBuzhash => ("DYNAMIC-1M-BUZHASH", Method::Buzhash, M),
            Self::Dynamic2MBuzhash => ("DYNAMIC-2M-BUZHASH", Method::Buzhash, 2 * M),
            Self::Dynamic4MBuzhash => ("DYNAMIC-4M-BUZHASH", Method::Buzhash, 4 * M),
            Self::Dynamic8MBuzhash => ("DYNAMIC-8M-BUZHASH", Method::Buzhash, 8 * M),
            Self::Dynamic128KRabinKarp => ("DYNAMIC-128K-RABINKARP", Method::RabinKarp, 128 * K),
            Self::Dynamic256KRabinKarp => ("DYNAMIC-256K-RABINKARP", Method::RabinKarp, 256 * K),
            Self::Dynamic512KRabinKarp => ("DYNAMIC-512K-RABINKARP", Method::RabinKarp, 512 * K),
            Self::Dynamic1MRabinKarp => ("DYNAMIC-1M-RABINKARP", Method::RabinKarp, M),
            Self::Dynamic2MRabinKarp => ("DYNAMIC-2M-RABINKARP", Method::RabinKarp, 2 * M),
            Self::Dynamic4MRabinKarp => ("DYNAMIC-4M-RABINKARP", Method::RabinKarp, 4 * M),
            Self::Dynamic8MRabinKarp => ("DYNAMIC-8M-RABINKARP", Method::RabinKarp, 8 * M),
        }
    }

    pub fn name(self) -> &'static str {
        self.parameters().0
    }

    /// The shortest chunk in bytes, except for the last one of an object.
    pub const fn min(self) -> usize {
        match self.parameters() {
            (_, Method::Fixed, length) => length,
            (_, _, average) => average / 2,
        }
    }

    /// The longest chunk in bytes.
    pub const fn max(self) -> usize {
        match self.parameters() {
            (_, Method::Fixed, length) => length,
            (_, _, average) => average * 2,
        }
    }

    /// The length of the current chunk, if `chunk` reaches its end.
    ///
    /// `chunk` is all that is at hand since the last cut, `scanned` how much of its beginning has been searched before
    /// without finding a cut. So while bytes arrive, pass the longer `chunk` with the former length as `scanned`; after
    /// a cut, pass what follows it with 0.
    pub fn find_cut(self, chunk: &[u8], scanned: usize) -> Option<usize> {
        let (min, max) = (self.min(), self.max());
        let first = min.max(scanned.saturating_add(1));
        let last = max.min(chunk.len());
        if first > last {
            // Nothing to search, except that `scanned` may have been too large.
            return (chunk.len() >= max).then_some(max);
        }
        let found = match self.parameters() {
            (_, Method::Fixed, _) => None,
            (_, Method::Buzhash, average) => find_zero_bits::<Buzhash>(chunk, first, last, average - 1),
            (_, Method::RabinKarp, average) => find_zero_bits::<RabinKarp>(chunk, first, last, average - 1),
        };
        found.or((last == max).then_some(max))
    }
}

impl FromStr for SplitterAlgorithm {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        by_name("splitter", &Self::ALL, Self::name, name)
    }
}

impl fmt::Display for SplitterAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

trait RollingHash: Copy {
    /// The hash of a window of zeros.
    const ZEROS: Self;

    fn roll(self, leaving: u8, entering: u8) -> Self;

    /// Whether the bits of `mask` are all zero. No splitter looks at more than 23.
    fn is_zero_in(self, mask: u32) -> bool;

    fn of_window(window: &[u8]) -> Self {
        window.iter().fold(Self::ZEROS, |hash, &byte| hash.roll(0, byte))
    }
}

#[derive(Clone, Copy)]
struct Buzhash(u32);

impl RollingHash for Buzhash {
    const ZEROS: Self = Self(0);

    fn roll(self, leaving: u8, entering: u8) -> Self {
        let difference = tables::BUZHASH[usize::from(leaving)] ^ tables::BUZHASH[usize::from(entering)];
        Self(self.0.rotate_left(1) ^ difference)
    }

    fn is_zero_in(self, mask: u32) -> bool {
        self.0 & mask == 0
    }
}

#[derive(Clone, Copy)]
struct RabinKarp(u64);

impl RollingHash for RabinKarp {
    const ZEROS: Self = Self(0);

    fn roll(self, leaving: u8, entering: u8) -> Self {
        let rest = self.0 ^ tables::LEAVING[usize::from(leaving)];
        let overflow = usize::from((rest >> 45) as u8);
        Self(((rest << 8) | u64::from(entering)) ^ tables::MODULO[overflow])
    }

    fn is_zero_in(self, mask: u32) -> bool {
        self.0 as u32 & mask == 0
    }
}

/// The least chunk length in `first..=last` at which the hash of the window before is zero in `mask`; `first` is greater
/// than the window and at most `last`.
fn find_zero_bits<H: RollingHash>(chunk: &[u8], first: usize, last: usize, mask: usize) -> Option<usize> {
    let mask = mask as u32;
    // The window before the byte that makes a chunk of the first length, and the bytes to search.
    let bytes = &chunk[first - 1 - WINDOW..last];
    let mut rest = bytes;
    let found = find_in_lanes::<H, LONG_SEGMENT>(&mut rest, mask)
        .or_else(|| find_in_lanes::<H, SHORT_SEGMENT>(&mut rest, mask))
        .or_else(|| find_in_sequence(H::of_window(&rest[..WINDOW]), rest, &rest[WINDOW..], mask));
    found.map(|i| first + (bytes.len() - rest.len()) + i)
}

/// Searches `rest`, which begins with a window, as far as there are segments for all lanes, and removes what it has
/// searched in vain. The result is relative to what remains.
fn find_in_lanes<H: RollingHash, const SEGMENT: usize>(rest: &mut &[u8], mask: u32) -> Option<usize> {
    loop {
        let leaving = rest.as_chunks::<SEGMENT>().0.first_chunk::<LANES>()?;
        let entering = rest.get(WINDOW..)?.as_chunks::<SEGMENT>().0.first_chunk::<LANES>()?;
        let mut hashes = leaving.each_ref().map(|segment| H::of_window(&segment[..WINDOW]));
        for i in 0..SEGMENT {
            for lane in 0..LANES {
                hashes[lane] = hashes[lane].roll(leaving[lane][i], entering[lane][i]);
            }
            if hashes.iter().any(|hash| hash.is_zero_in(mask)) {
                // Lanes before the one that matched may match in the rest of their segments: that would be earlier.
                return (0..LANES).find_map(|lane| {
                    let (hash, start) = (hashes[lane], lane * SEGMENT + i);
                    if hash.is_zero_in(mask) {
                        return Some(start);
                    }
                    let (leaving, entering) = (&leaving[lane][i + 1..], &entering[lane][i + 1..]);
                    find_in_sequence(hash, leaving, entering, mask).map(|j| start + 1 + j)
                });
            }
        }
        *rest = &rest[LANES * SEGMENT..];
    }
}

/// The index of the first byte after which the hash is zero in `mask`.
fn find_in_sequence<H: RollingHash>(mut hash: H, leaving: &[u8], entering: &[u8], mask: u32) -> Option<usize> {
    leaving.iter().zip(entering).position(|(&leaving, &entering)| {
        hash = hash.roll(leaving, entering);
        hash.is_zero_in(mask)
    })
}

#[cfg(test)]
mod tests;
