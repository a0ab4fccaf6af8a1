//! Finding the records of a segment that has no table: from header to header, payloads unread.
//!
//! Where a header is damaged, the next one is searched byte by byte; the salt in its checksum makes sure that it is
//! one. Where the file ends within a record, somebody is still writing it or never finished it: the scan goes on
//! from there when the file has grown.

use std::io;

use crate::record::{LONGEST_HEADER, MAGIC, Mark, Parsed, RecordHeader};
use crate::segment::{Located, Segment};

/// Small enough not to read much of a payload that follows, large enough for several small records.
const WINDOW: usize = 8 << 10;
const SEARCHED_AT_ONCE: usize = 256 << 10;

/// How far a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// End of the last whole record.
    pub(crate) end: u32,
    /// Where to go on when there is more; lies behind `end` when what follows it is damaged.
    pub(crate) next: u32,
}

/// Finds the records from an offset on, in a file of that length.
pub(crate) fn scan(
    segment: &Segment,
    from: u32,
    length: u32,
    mut found: impl FnMut(Located, &RecordHeader),
) -> io::Result<Scanned> {
    let mut window = Window { segment, length, start: 0, bytes: Vec::new() };
    let mut scanned = Scanned { end: from, next: from };
    while scanned.next < length {
        match RecordHeader::parse(window.at(scanned.next)?, segment.salt, scanned.next) {
            Parsed::Header(header) => {
                let record_length = u32::try_from(header.record_length()).unwrap_or(u32::MAX);
                let Some(end) = scanned.next.checked_add(record_length).filter(|end| *end <= length) else { break };
                found(Located { hash: header.key.hash(), offset: scanned.next, length: record_length }, &header);
                scanned = Scanned { end, next: end };
            }
            Parsed::Short => break,
            Parsed::Damaged => match search(segment, scanned.next + 1, length)? {
                Found::Record(offset) => scanned.next = offset,
                Found::Nothing(searched) => {
                    scanned.next = searched;
                    break;
                }
            },
        }
    }
    Ok(scanned)
}

/// The same, for the records that count: those that were removed do not come back.
pub(crate) fn scan_kept(segment: &Segment, from: u32, length: u32, kept: &mut Vec<Located>) -> io::Result<Scanned> {
    scan(segment, from, length, |record, header| {
        if header.mark != Mark::Removed {
            kept.push(record);
        }
    })
}

/// Some bytes of the file, read once for several headers.
struct Window<'a> {
    segment: &'a Segment,
    length: u32,
    start: u32,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// What is there at an offset: enough for a header, unless the file ends.
    fn at(&mut self, offset: u32) -> io::Result<&[u8]> {
        let wanted = LONGEST_HEADER.min((self.length - offset) as usize);
        let held = |window: &Self| {
            let from = offset.checked_sub(window.start)? as usize;
            window.bytes.get(from..).filter(|rest| rest.len() >= wanted).map(|_| from)
        };
        let from = match held(self) {
            Some(from) => from,
            None => {
                self.bytes.resize(WINDOW.min((self.length - offset) as usize), 0);
                let read = self.segment.read_at(&mut self.bytes, offset)?;
                self.bytes.truncate(read);
                self.start = offset;
                0
            }
        };
        Ok(self.bytes.get(from..).unwrap_or_default())
    }
}

enum Found {
    Record(u32),
    /// There is none before this offset.
    Nothing(u32),
}

/// The next whole header from an offset on.
fn search(segment: &Segment, from: u32, length: u32) -> io::Result<Found> {
    let mut at = from;
    let mut buffer = vec![0; SEARCHED_AT_ONCE];
    loop {
        let wanted = SEARCHED_AT_ONCE.min(length.saturating_sub(at) as usize);
        let read = segment.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        for (index, candidate) in bytes.windows(MAGIC.len()).enumerate() {
            if candidate == MAGIC {
                let offset = at + index as u32;
                match RecordHeader::parse(bytes.get(index..).unwrap_or_default(), segment.salt, offset) {
                    Parsed::Header(_) => return Ok(Found::Record(offset)),
                    Parsed::Short | Parsed::Damaged => {}
                }
            }
        }
        // A header may begin in what remains and end in what follows.
        let done = read.saturating_sub(LONGEST_HEADER) as u32;
        if read < wanted || at.saturating_add(read as u32) >= length || done == 0 {
            return Ok(Found::Nothing(at + done));
        }
        at += done;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::record::Key;
    use crate::segment::{HEADER, Queue};

    /// A segment with records of all sizes, and where they are.
    fn filled(directory: &Path) -> (Segment, Vec<Located>, u32) {
        let segment = Segment::create(directory, Queue::Main, 1 << 20, 1).unwrap().finish(directory).unwrap();
        let (mut records, mut end) = (Vec::new(), HEADER);
        for number in 0..30_u8 {
            let length = usize::from(number) * usize::from(number) * 30 % 20_000;
            let key = Key::new(&vec![number; usize::from(number)]).unwrap();
            let record = segment.append(end, &key, &vec![b'l'; length]).unwrap();
            end += record.length;
            records.push(record);
        }
        (segment, records, end)
    }

    fn found(segment: &Segment, from: u32, length: u32) -> (Vec<Located>, Scanned) {
        let mut records = Vec::new();
        let scanned = scan(segment, from, length, |record, _| records.push(record)).unwrap();
        (records, scanned)
    }

    #[test]
    fn all_records_up_to_any_end_are_found() {
        let directory = TempDir::new().unwrap();
        let (segment, records, end) = filled(directory.path());
        assert_eq!(found(&segment, HEADER, end), (records.clone(), Scanned { end, next: end }));
        for record in &records {
            for cut in [record.offset - 1, record.offset, record.offset + 1, record.offset + record.length - 1] {
                let whole: Vec<_> = records.iter().filter(|r| r.offset + r.length <= cut).copied().collect();
                let stop = whole.last().map_or(HEADER, |r| r.offset + r.length);
                assert_eq!(found(&segment, HEADER, cut.max(HEADER)), (whole, Scanned { end: stop, next: stop }));
                let (rest, _) = found(&segment, stop, end);
                assert_eq!(rest, records.iter().filter(|r| r.offset >= stop).copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn damage_hides_one_record() {
        let directory = TempDir::new().unwrap();
        let (segment, records, end) = filled(directory.path());
        for damaged in &records {
            for at in [0, 5, 12, 17] {
                let mut byte = [0];
                segment.read_at(&mut byte, damaged.offset + at).unwrap();
                segment.write_at(&[byte[0] ^ 0x41], damaged.offset + at).unwrap();
                let others: Vec<_> = records.iter().filter(|r| *r != damaged).copied().collect();
                let (seen, scanned) = found(&segment, HEADER, end);
                assert_eq!(seen, others);
                assert_eq!(scanned.end, others.last().map_or(HEADER, |r| r.offset + r.length));
                segment.write_at(&byte, damaged.offset + at).unwrap();
            }
        }
    }

    #[test]
    fn a_payload_that_looks_like_records_is_none() {
        let directory = TempDir::new().unwrap();
        let (segment, _, end) = filled(directory.path());
        let mut bytes = vec![0; end as usize];
        segment.read_at(&mut bytes, 0).unwrap();
        let record = segment.append(end, &Key::new(b"copy").unwrap(), &bytes).unwrap();
        segment.write_at(b"x", record.offset).unwrap();
        let next = segment.append(end + record.length, &Key::new(b"next").unwrap(), b"").unwrap();
        assert_eq!(found(&segment, end, next.offset + next.length).0, [next]);
    }
}
