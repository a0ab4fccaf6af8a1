//! Segments: the files that records are appended to.
//!
//! ```text
//! header: magic "lrdchunk" │ version u32 │ queue u32 │ capacity u32 │ order u64 │ salt u64 │ CRC-32C of all this u32
//! records, one after the other
//! table, once no more records follow (see `table`)
//! ```
//!
//! A segment appears under its name with its header whole, is appended to by the one process that holds the file's
//! lock, never grows over its capacity, and goes by being unlinked and cut to nothing: the cut gives back its space
//! although other processes may still have it open. They notice that by what they read, which is why a read checks
//! everything: header, key, place and payload.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::record::{Key, LONGEST_HEADER, MARK, Mark, Parsed, RecordHeader};

/// Bytes before the first record.
pub(crate) const HEADER: u32 = 40;
const MAGIC: &[u8; 8] = b"lrdchunk";
const VERSION: u32 = 1;
const PREFIX: &str = "segment-";
/// Begins the names of segments that are not whole yet.
pub(crate) const UNFINISHED: &str = "new-";

/// What kind of records a segment takes; each kind is a queue whose oldest segment goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Data that nobody asked for again so far.
    Probation,
    /// Data that somebody did ask for again.
    Main,
    Metadata,
}

impl Queue {
    fn number(self) -> u32 {
        match self {
            Self::Probation => 0,
            Self::Main => 1,
            Self::Metadata => 2,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Probation, Self::Main, Self::Metadata].into_iter().find(|queue| queue.number() == number)
    }
}

/// Where a record lies in its segment, and the hash of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) hash: u64,
    pub(crate) offset: u32,
    /// Of the whole record.
    pub(crate) length: u32,
}

/// What became of reading a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Value(Vec<u8>, Mark),
    /// It is there, and it is not what was looked for.
    Other,
    /// The segment was evicted.
    Gone,
    Damaged,
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The random part of its name.
    pub(crate) name: u64,
    pub(crate) queue: Queue,
    pub(crate) capacity: u32,
    /// Older segments have lower ones.
    pub(crate) order: u64,
    pub(crate) salt: u64,
    file: File,
}

impl Segment {
    pub(crate) fn file_name(name: u64) -> String {
        format!("{PREFIX}{name:016x}")
    }

    /// The random part of a file's name, if it is a segment's.
    pub(crate) fn parse_name(file_name: &str) -> Option<u64> {
        let digits = file_name.strip_prefix(PREFIX)?;
        let name = u64::from_str_radix(digits, 16).ok()?;
        (Self::file_name(name) == file_name).then_some(name)
    }

    pub(crate) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(Self::file_name(self.name))
    }

    /// None when it is no segment, or one whose header is damaged.
    pub(crate) fn open(directory: &Path, name: u64) -> io::Result<Option<Self>> {
        let path = directory.join(Self::file_name(name));
        // To be read it need not be writable.
        let file = File::options().read(true).write(true).open(&path).or_else(|_| File::open(&path))?;
        let mut bytes = [0; HEADER as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        Ok(decode_header(&bytes).map(|(queue, capacity, order, salt)| Self {
            name,
            queue,
            capacity,
            order,
            salt,
            file,
        }))
    }

    /// Makes a segment that has no name yet, and locks it.
    pub(crate) fn create(directory: &Path, queue: Queue, capacity: u32, order: u64) -> io::Result<Unnamed> {
        let (name, salt) = (random()?, random()?);
        let path = directory.join(format!("{UNFINISHED}{name:016x}"));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let segment = Self { name, queue, capacity, order, salt, file };
        let unnamed = Unnamed { path, segment: Some(segment) };
        if let Some(segment) = &unnamed.segment {
            segment.file.write_all_at(&encode_header(segment), 0)?;
            segment.file.try_lock().map_err(io::Error::from)?;
        }
        Ok(unnamed)
    }

    /// Keeps all other processes from appending to it and from evicting it.
    pub(crate) fn try_lock(&self) -> bool {
        self.file.try_lock().is_ok()
    }

    pub(crate) fn unlock(&self) {
        // Fails for no reason that could be acted upon; the lock goes with the process at last.
        let _ = self.file.unlock();
    }

    /// Bytes that it has now; none when it was evicted.
    pub(crate) fn length(&self) -> Option<u32> {
        let metadata = self.file.metadata().ok()?;
        let length = u32::try_from(metadata.len()).ok()?;
        (metadata.nlink() > 0 && length >= HEADER).then_some(length)
    }

    /// The value of a key, of which the index says where it is.
    pub(crate) fn read(&self, at: Located, key: &Key) -> Read {
        let mut head = [0; LONGEST_HEADER];
        let Some(head) = head.get_mut(..key.header_length()) else { return Read::Other };
        let Some(payload_length) = (at.length as usize).checked_sub(head.len()) else { return Read::Other };
        let mut payload = vec![0; payload_length];
        let Ok(whole) = self.read_both(head, &mut payload, at.offset) else { return Read::Damaged };
        match RecordHeader::parse(head, self.salt, at.offset) {
            Parsed::Header(header) if whole && header.key == *key && header.fits(&payload) => {
                if header.mark == Mark::Removed { Read::Other } else { Read::Value(payload, header.mark) }
            }
            Parsed::Header(header) if header.key != *key => Read::Other,
            // A segment is cut when it goes, and by who takes it over.
            _ => match self.length() {
                None => Read::Gone,
                Some(length) if length < at.offset.saturating_add(at.length) => Read::Other,
                Some(_) => Read::Damaged,
            },
        }
    }

    /// Fills both buffers; false when the file is shorter.
    fn read_both(&self, head: &mut [u8], payload: &mut [u8], offset: u32) -> io::Result<bool> {
        let (head_length, payload_length) = (head.len(), payload.len());
        let mut both = [IoSliceMut::new(head), IoSliceMut::new(payload)];
        let read = retry(|| rustix::io::preadv(&self.file, &mut both, u64::from(offset)))?;
        if read == 0 || read < head_length {
            return Ok(false);
        }
        if read < head_length + payload_length {
            let rest = payload.get_mut(read - head_length..).unwrap_or_default();
            return match self.file.read_exact_at(rest, u64::from(offset) + read as u64) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                result => result.map(|()| true),
            };
        }
        Ok(true)
    }

    /// A record as the index has it, whatever its key.
    pub(crate) fn read_any(&self, at: Located) -> Read {
        match self.header(at) {
            Some(header) => self.read(at, &header.key),
            None if self.length().is_none() => Read::Gone,
            None => Read::Damaged,
        }
    }

    pub(crate) fn header(&self, at: Located) -> Option<RecordHeader> {
        let mut head = [0; LONGEST_HEADER];
        let head = head.get_mut(..LONGEST_HEADER.min(at.length as usize))?;
        self.file.read_exact_at(head, u64::from(at.offset)).ok()?;
        match RecordHeader::parse(head, self.salt, at.offset) {
            Parsed::Header(header) if header.record_length() == u64::from(at.length) => Some(header),
            _ => None,
        }
    }

    /// Notes something about a record. On a cache that cannot be written to nothing is noted, and nothing lost.
    pub(crate) fn mark(&self, offset: u32, mark: Mark) {
        let _ = self.file.write_at(&[mark.byte()], u64::from(offset + MARK));
    }

    /// Appends a record, for the process that holds the lock.
    pub(crate) fn append(&self, offset: u32, key: &Key, payload: &[u8]) -> io::Result<Located> {
        let header = RecordHeader::new(*key, payload);
        let head = header.encode(self.salt, offset);
        let both = [IoSlice::new(&head), IoSlice::new(payload)];
        let written = retry(|| rustix::io::pwritev(&self.file, &both, u64::from(offset)))?;
        let length = head.len() + payload.len();
        if written < length {
            // The second attempt says why.
            let from_payload = written.checked_sub(head.len());
            if from_payload.is_none() {
                self.file.write_all_at(head.get(written..).unwrap_or_default(), u64::from(offset) + written as u64)?;
            }
            let rest = payload.get(from_payload.unwrap_or(0)..).unwrap_or_default();
            self.file.write_all_at(rest, u64::from(offset) + (length - rest.len()) as u64)?;
        }
        Ok(Located { hash: key.hash(), offset, length: length as u32 })
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u32) -> io::Result<()> {
        self.file.write_all_at(bytes, u64::from(offset))
    }

    /// As many bytes as there are, up to the buffer's length.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u32) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, u64::from(offset) + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    pub(crate) fn cut(&self, length: u32) -> io::Result<()> {
        self.file.set_len(u64::from(length))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives back its space and its name.
    pub(crate) fn discard(&self, directory: &Path) -> io::Result<()> {
        match fs::remove_file(self.path(directory)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // Where it may not be cut, its space comes back when the last one closes it.
        let _ = self.file.set_len(0);
        Ok(())
    }
}

/// A segment that is removed unless it gets its name.
#[derive(Debug)]
pub(crate) struct Unnamed {
    path: PathBuf,
    segment: Option<Segment>,
}

impl Unnamed {
    pub(crate) fn finish(mut self, directory: &Path) -> io::Result<Segment> {
        let segment = self.segment.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if let Err(error) = fs::rename(&self.path, segment.path(directory)) {
            self.segment = Some(segment);
            return Err(error);
        }
        Ok(segment)
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if self.segment.is_some() {
            // Who next makes a segment removes it otherwise.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn encode_header(segment: &Segment) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(segment.queue.number().to_le_bytes());
    bytes.extend(segment.capacity.to_le_bytes());
    bytes.extend(segment.order.to_le_bytes());
    bytes.extend(segment.salt.to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode_header(bytes: &[u8; HEADER as usize]) -> Option<(Queue, u32, u64, u64)> {
    let (summed, sum) = bytes.split_last_chunk::<4>()?;
    let rest = summed.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let (queue, rest) = rest.split_first_chunk::<4>()?;
    let (capacity, rest) = rest.split_first_chunk::<4>()?;
    let (order, salt) = rest.split_first_chunk::<8>()?;
    let whole = crc32c::crc32c(summed) == u32::from_le_bytes(*sum) && u32::from_le_bytes(*version) == VERSION;
    let queue = Queue::from_number(u32::from_le_bytes(*queue)).filter(|_| whole)?;
    Some((queue, u32::from_le_bytes(*capacity), u64::from_le_bytes(*order), u64::from_le_bytes(*salt.first_chunk()?)))
}

fn random() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name.as_bytes()).unwrap()
    }

    fn create(directory: &Path) -> Segment {
        Segment::create(directory, Queue::Main, 1 << 16, 3).unwrap().finish(directory).unwrap()
    }

    #[test]
    fn a_segment_is_found_again() {
        let directory = TempDir::new().unwrap();
        let segment = create(directory.path());
        let again = Segment::open(directory.path(), segment.name).unwrap().unwrap();
        assert_eq!((again.queue, again.capacity, again.order, again.salt), (Queue::Main, 1 << 16, 3, segment.salt));
        assert_eq!(again.length(), Some(HEADER));
        assert!(!again.try_lock());
        segment.unlock();
        assert!(again.try_lock());
        assert_eq!(Segment::parse_name(&Segment::file_name(segment.name)), Some(segment.name));
        assert_eq!(Segment::parse_name("segment-00000000000000FF"), None);
        assert_eq!(Segment::parse_name("segment-ff"), None);
    }

    #[test]
    fn one_without_a_name_goes() {
        let directory = TempDir::new().unwrap();
        drop(Segment::create(directory.path(), Queue::Main, 1 << 16, 3).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_header_is_no_segment() {
        let directory = TempDir::new().unwrap();
        let segment = create(directory.path());
        let path = segment.path(directory.path());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            assert!(Segment::open(directory.path(), segment.name).unwrap().is_none(), "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(Segment::open(directory.path(), segment.name).unwrap().is_none(), "{at}");
        }
    }

    #[test]
    fn what_is_appended_is_read() {
        let directory = TempDir::new().unwrap();
        let segment = create(directory.path());
        let first = segment.append(HEADER, &key("a"), b"one").unwrap();
        let second = segment.append(HEADER + first.length, &key("b"), b"").unwrap();
        assert_eq!(segment.read(first, &key("a")), Read::Value(b"one".to_vec(), Mark::Fresh));
        assert_eq!(segment.read(second, &key("b")), Read::Value(Vec::new(), Mark::Fresh));
        assert_eq!(segment.read(second, &key("a")), Read::Other);
        assert_eq!(segment.read(Located { length: first.length + 1, ..first }, &key("a")), Read::Damaged);
        assert_eq!(segment.read(Located { length: 1 << 15, ..second }, &key("b")), Read::Other);
        segment.mark(first.offset, Mark::Touched);
        assert_eq!(segment.read(first, &key("a")), Read::Value(b"one".to_vec(), Mark::Touched));
        assert_eq!(segment.read_any(first), Read::Value(b"one".to_vec(), Mark::Touched));
        assert_eq!(segment.header(first).unwrap().mark, Mark::Touched);
        segment.mark(first.offset, Mark::Removed);
        assert_eq!(segment.read(first, &key("a")), Read::Other);
        assert_eq!(segment.read_any(first), Read::Other);

        segment.write_at(b"x", second.offset + 8).unwrap();
        assert_eq!(segment.read(second, &key("b")), Read::Damaged);
        segment.discard(directory.path()).unwrap();
        assert_eq!(segment.read(second, &key("b")), Read::Gone);
        assert_eq!(segment.length(), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
