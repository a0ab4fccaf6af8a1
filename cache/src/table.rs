//! The table at the end of a segment that takes no more records: where they are, so that opening reads only this.
//!
//! ```text
//! hash of the key u64 │ offset u32 │ length u32, for every record
//! footer: number of records u32 │ CRC-32C of the salt, the table and the number u32 │ magic "lrdtable"
//! ```
//!
//! The file ends with it. A file that does not is taken for one that somebody still appends to, or was about to.

use std::io;

use crate::segment::{HEADER, Located, Segment};

/// Bytes of one line.
const LINE: u32 = 16;
const FOOTER: u32 = 16;
const MAGIC: &[u8; 8] = b"lrdtable";

/// Bytes that a table of so many records takes.
pub(crate) fn length(records: usize) -> u64 {
    records as u64 * u64::from(LINE) + u64::from(FOOTER)
}

/// Ends a segment.
pub(crate) fn write(segment: &Segment, end: u32, records: &[Located]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(length(records.len()) as usize);
    for record in records {
        bytes.extend(record.hash.to_le_bytes());
        bytes.extend(record.offset.to_le_bytes());
        bytes.extend(record.length.to_le_bytes());
    }
    let number = (records.len() as u32).to_le_bytes();
    let sum = sum(segment.salt, &bytes, number);
    bytes.extend(number);
    bytes.extend(sum.to_le_bytes());
    bytes.extend(MAGIC);
    segment.write_at(&bytes, end)
}

/// The records of a segment of this length, if it ends with an undamaged table, and where that begins.
pub(crate) fn read(segment: &Segment, length: u32) -> Option<(Vec<Located>, u32)> {
    let footer_at = length.checked_sub(FOOTER)?;
    let mut footer = [0; FOOTER as usize];
    segment.read_at(&mut footer, footer_at).ok()?;
    let (number, rest) = footer.split_first_chunk::<4>()?;
    let (expected, magic) = rest.split_first_chunk::<4>()?;
    if magic != MAGIC {
        return None;
    }
    let table_length = u32::from_le_bytes(*number).checked_mul(LINE)?;
    let start = footer_at.checked_sub(table_length).filter(|start| *start >= HEADER)?;
    let mut bytes = vec![0; table_length as usize];
    segment.read_at(&mut bytes, start).ok()?;
    if sum(segment.salt, &bytes, *number) != u32::from_le_bytes(*expected) {
        return None;
    }
    let records: Option<Vec<Located>> = bytes.chunks_exact(LINE as usize).map(|line| parse(line, start)).collect();
    Some((records?, start))
}

fn parse(line: &[u8], end: u32) -> Option<Located> {
    let (hash, rest) = line.split_first_chunk::<8>()?;
    let (offset, length) = rest.split_first_chunk::<4>()?;
    let (offset, length) = (u32::from_le_bytes(*offset), u32::from_le_bytes(*length.first_chunk()?));
    let inside = offset >= HEADER && offset.checked_add(length)? <= end;
    inside.then_some(Located { hash: u64::from_le_bytes(*hash), offset, length })
}

fn sum(salt: u64, table: &[u8], number: [u8; 4]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), table), &number)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::record::Key;
    use crate::segment::Queue;

    #[test]
    fn a_table_is_read_whole_or_not_at_all() {
        let directory = TempDir::new().unwrap();
        let directory = directory.path();
        let segment = Segment::create(directory, Queue::Main, 1 << 16, 1).unwrap().finish(directory).unwrap();
        let (mut records, mut end) = (Vec::new(), HEADER);
        for number in 0..20_u8 {
            let record = segment.append(end, &Key::new(&[number]).unwrap(), &[number; 100]).unwrap();
            end += record.length;
            records.push(record);
        }
        assert_eq!(read(&segment, end), None);
        write(&segment, end, &records).unwrap();
        let whole = u32::try_from(u64::from(end) + length(20)).unwrap();
        assert_eq!(segment.length(), Some(whole));
        assert_eq!(read(&segment, whole), Some((records, end)));
        let bytes = fs::read(segment.path(directory)).unwrap();
        for at in end..whole {
            segment.write_at(&[bytes[at as usize] ^ 4], at).unwrap();
            assert_eq!(read(&segment, whole), None, "{at}");
            segment.write_at(&bytes[at as usize..=at as usize], at).unwrap();
            assert_eq!(read(&segment, at), None, "{at}");
        }
    }
}
