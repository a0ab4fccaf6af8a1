//! Cuts a stream into chunks while it is read.
//!
//! The chunk under way is kept in one buffer, so the splitter always sees all of it, and nothing depends on how many
//! bytes a read happens to give. What was read beyond a cut, little, is copied to the next chunk.

use std::io::{self, Read};

use crate::format::SplitterAlgorithm;

/// Bytes read at once beyond what is surely part of the chunk.
const STEP: usize = 256 << 10;

#[derive(Debug)]
pub struct Chunker {
    splitter: SplitterAlgorithm,
    /// Bytes read since the last cut.
    rest: Vec<u8>,
    started: bool,
    ended: bool,
}

impl Chunker {
    pub fn new(splitter: SplitterAlgorithm) -> Self {
        Self { splitter, rest: Vec::new(), started: false, ended: false }
    }

    /// Puts the next chunk into `chunk`, whose memory is used again; false at the end. A stream without any bytes has
    /// one empty chunk.
    pub fn next(&mut self, input: &mut (impl Read + ?Sized), chunk: &mut Vec<u8>) -> io::Result<bool> {
        chunk.clear();
        chunk.append(&mut self.rest);
        let mut scanned = 0;
        loop {
            if let Some(cut) = self.splitter.find_cut(chunk, scanned) {
                self.rest.extend_from_slice(chunk.get(cut..).unwrap_or_default());
                chunk.truncate(cut);
                self.started = true;
                return Ok(true);
            }
            scanned = chunk.len();
            if self.ended {
                let first = !self.started;
                self.started = true;
                return Ok(first || !chunk.is_empty());
            }
            let surely = self.splitter.min().saturating_sub(chunk.len());
            self.ended = !read_some(input, surely.max(STEP), chunk)?;
        }
    }
}

/// Appends up to `wanted` bytes; false when the input ended before.
fn read_some(input: &mut (impl Read + ?Sized), wanted: usize, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.reserve(wanted);
    let read = input.take(wanted as u64).read_to_end(buffer)?;
    Ok(read == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::testdata;

    /// Gives as many bytes at a time as it was told to.
    struct Dripping<'a>(&'a [u8], Vec<usize>);

    impl Read for Dripping<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let step = self.1.pop().unwrap_or(usize::MAX);
            let n = step.clamp(1, self.0.len().max(1)).min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn chunks(splitter: SplitterAlgorithm, input: &mut dyn Read) -> Vec<Vec<u8>> {
        let mut chunker = Chunker::new(splitter);
        let (mut chunk, mut all) = (Vec::new(), Vec::new());
        while chunker.next(input, &mut chunk).unwrap() {
            all.push(chunk.clone());
        }
        assert!(!chunker.next(input, &mut chunk).unwrap());
        all
    }

    #[test]
    fn ends() {
        let fixed: SplitterAlgorithm = "FIXED-128K".parse().unwrap();
        let lengths = |length: usize| -> Vec<usize> {
            chunks(fixed, &mut testdata::pattern(length).as_slice()).iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(0), [0]);
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(131_072), [131_072]);
        assert_eq!(lengths(131_073), [131_072, 1]);
        assert_eq!(lengths(262_144), [131_072, 131_072]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(testdata::cases(24)))]

        #[test]
        fn however_it_is_fed(
            name in prop::sample::select(vec!["FIXED-128K", "DYNAMIC-128K-BUZHASH", "DYNAMIC-256K-RABINKARP"]),
            length in 0..2_000_000_usize,
            zeros in 0..400_000_usize,
            steps in prop::collection::vec(1..300_000_usize, 0..40),
        ) {
            let splitter: SplitterAlgorithm = name.parse().unwrap();
            let mut data = testdata::splitmix(7, length);
            data.splice(length / 3..length / 3, vec![0; zeros]);
            let whole = chunks(splitter, &mut data.as_slice());
            prop_assert_eq!(&whole.concat(), &data);
            prop_assert_eq!(whole, chunks(splitter, &mut Dripping(&data, steps)));
        }
    }
}
