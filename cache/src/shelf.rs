//! Files with a checksum for every 64 KiB, checked when a block is first touched.
//!
//! ```text
//! payload
//! CRC-32C of every block of 65536 payload bytes (the last one shorter), u32 little-endian each
//! footer: payload length u64 le │ CRC-32C of all the checksums and the length u32 le │ magic "lrdshelf"
//! ```
//!
//! Opening reads the checksums and the footer only, so it costs next to nothing whatever the size. A block is
//! checked once per open file, then a bit remembers it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use memmap2::{Mmap, MmapMut};

use crate::cache::Cache;

const BLOCK: usize = 1 << 16;
const MAGIC: &[u8; 8] = b"lrdshelf";
const FOOTER: usize = 8 + 4 + 8;
/// What a crashed writer left is removed when it is older than this.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);
/// Bytes for which a cache is asked to make room at one time, while a file grows whose length nobody knows.
const LEAST_ROOM: u64 = 64 << 10;
const MOST_ROOM: u64 = 4 << 20;

/// A directory of checked files.
#[derive(Clone, Debug)]
pub struct Shelf {
    directory: PathBuf,
    cache: Option<Cache>,
}

/// The bytes asked for are not those that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl Shelf {
    /// Makes the directory, readable by its owner only, when it is not there.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, cache: None })
    }

    /// Lets a cache that the directory lies under make room for what is written, within its limit. Where it cannot,
    /// writing fails with [`io::ErrorKind::StorageFull`].
    pub fn within(self, cache: Cache) -> Self {
        Self { cache: Some(cache), ..self }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names of the files there are, in any order; none when the directory cannot be read.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.contains(".tmp."))
            .collect()
    }

    /// The file of that name, if there is an undamaged one.
    pub fn get(&self, name: &str) -> Option<ShelfFile> {
        ShelfFile::open(&self.path(name)?).ok()
    }

    /// Puts a file under a name: the whole of what `write` writes, or nothing.
    pub fn put(&self, name: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<ShelfFile> {
        let path = self.path(name).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let (temporary, file) = self.create_temporary()?;
        let mut out = Summing {
            inner: BufWriter::with_capacity(BLOCK, file),
            shelf: self,
            room: 0,
            sum: 0,
            in_block: 0,
            length: 0,
            sums: Vec::new(),
        };
        write(&mut out)?;
        // A name that outlives a power loss must not outlive its bytes.
        out.finish()?.sync_data()?;
        temporary.rename(&path)?;
        ShelfFile::open(&path)
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Begins a file of up to `length` bytes that is filled in any order, without taking memory of the process.
    pub fn create(&self, length: usize) -> io::Result<ShelfDraft> {
        let whole = length + 4 * length.div_ceil(BLOCK) + FOOTER;
        self.make_room(whole as u64)?;
        let (temporary, file) = self.create_temporary()?;
        // Without room set aside, a full disk would kill the process at some store to the mapped memory.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, whole as u64)?;
        // SAFETY: the file is new, under a random name, in a directory that belongs to the user alone.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::MmapOptions::new().len(length).map_mut(&file)? };
        Ok(ShelfDraft { shelf: self.clone(), temporary, file, map })
    }

    fn create_temporary(&self) -> io::Result<(Temporary, File)> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = self.directory.join(format!("new.tmp.{}", hex::encode(random)));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Temporary(path), file))
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        match &self.cache {
            Some(cache) if !cache.make_room(bytes) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Removes what nobody wants any more: files for which `keep` answers false, and what crashed writers left.
    /// Files younger than `spare` stay, as another process may be about to open them.
    pub fn sweep(&self, spare: Duration, keep: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let age =
                entry.metadata().and_then(|m| m.modified()).ok().and_then(|m| SystemTime::now().duration_since(m).ok());
            let unwanted = if name.contains(".tmp.") {
                age.is_some_and(|age| age > LEFTOVER_AGE)
            } else {
                !keep(name) && age.is_some_and(|age| age >= spare)
            };
            if unwanted {
                match fs::remove_file(entry.path()) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// None for a name that would lead out of the directory.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        plain.then(|| self.directory.join(name))
    }
}

/// A file that is removed unless it gets its name.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.0, to)?;
        self.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // Swept later when it cannot be removed now.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// A file that is still being filled. Dropped, it is gone.
#[derive(Debug)]
pub struct ShelfDraft {
    shelf: Shelf,
    temporary: Temporary,
    file: File,
    map: MmapMut,
}

impl ShelfDraft {
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    /// Keeps the first `length` bytes under a name.
    pub fn finish(self, name: &str, length: usize) -> io::Result<ShelfFile> {
        let path = self.shelf.path(name).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let payload = self.map.get(..length).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let sums = payload.chunks(BLOCK).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect();
        let trailer = trailer(sums, length as u64);
        self.file.set_len(length as u64)?;
        std::os::unix::fs::FileExt::write_all_at(&self.file, &trailer, length as u64)?;
        self.file.sync_data()?;
        self.temporary.rename(&path)?;
        ShelfFile::open(&path)
    }
}

/// Checksums of all blocks and the footer, as they follow the payload.
fn trailer(mut sums: Vec<u8>, length: u64) -> Vec<u8> {
    sums.extend(length.to_le_bytes());
    let sum = crc32c::crc32c(&sums);
    sums.extend(sum.to_le_bytes());
    sums.extend(MAGIC);
    sums
}

/// Sums up blocks while they are written.
struct Summing<'a> {
    inner: BufWriter<File>,
    shelf: &'a Shelf,
    /// Bytes that there is room for beyond those that were written.
    room: u64,
    sum: u32,
    in_block: usize,
    length: u64,
    sums: Vec<u8>,
}

impl Write for Summing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = bytes.len().min(BLOCK - self.in_block);
        if self.room < room as u64 {
            // What was written so far has to be on the disk to be counted there.
            self.inner.flush()?;
            self.room = self.length.clamp(LEAST_ROOM, MOST_ROOM);
            self.shelf.make_room(self.room)?;
        }
        let written = self.inner.write(bytes.get(..room).unwrap_or_default())?;
        self.room -= written as u64;
        self.sum = crc32c::crc32c_append(self.sum, bytes.get(..written).unwrap_or_default());
        self.in_block += written;
        self.length += written as u64;
        if self.in_block == BLOCK {
            self.end_block();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Summing<'_> {
    fn end_block(&mut self) {
        self.sums.extend(self.sum.to_le_bytes());
        (self.sum, self.in_block) = (0, 0);
    }

    fn finish(mut self) -> io::Result<File> {
        if self.in_block > 0 {
            self.end_block();
        }
        self.inner.write_all(&trailer(self.sums, self.length))?;
        self.inner.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// One file of a shelf, open for reading.
#[derive(Debug)]
pub struct ShelfFile {
    map: Mmap,
    length: usize,
    /// A bit for every block that has been checked.
    checked: Vec<AtomicU64>,
}

impl ShelfFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: files of a shelf are never written to after they got their name, only replaced or unlinked, and
        // the directory belongs to the user alone; every block is checked before its bytes are given out.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file)? };
        let length = payload_length(&map).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let checked = (0..length.div_ceil(BLOCK).div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { map, length, checked })
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A range of the payload.
    pub fn bytes(&self, range: Range<usize>) -> Result<&[u8], Damaged> {
        if range.end > self.length {
            return Err(Damaged);
        }
        let bytes = self.map.get(range.clone()).ok_or(Damaged)?;
        if !bytes.is_empty() {
            for block in range.start / BLOCK..=(range.end - 1) / BLOCK {
                self.check(block)?;
            }
        }
        Ok(bytes)
    }

    /// Checks all of the file.
    pub fn check_all(&self) -> Result<(), Damaged> {
        (0..self.length.div_ceil(BLOCK)).try_for_each(|block| self.check(block))
    }

    fn check(&self, block: usize) -> Result<(), Damaged> {
        let (word, bit) = (self.checked.get(block / 64).ok_or(Damaged)?, 1 << (block % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let start = block * BLOCK;
        let bytes = self.map.get(start..self.length.min(start + BLOCK)).ok_or(Damaged)?;
        let at = self.length + 4 * block;
        let sum = self.map.get(at..at + 4).and_then(|sum| sum.try_into().ok()).ok_or(Damaged)?;
        if crc32c::crc32c(bytes) != u32::from_le_bytes(sum) {
            return Err(Damaged);
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }
}

/// The payload's length, when the footer and the checksums are in order.
fn payload_length(file: &[u8]) -> Option<usize> {
    let (sums_and_payload, footer) = file.split_at_checked(file.len().checked_sub(FOOTER)?)?;
    let (length, rest) = footer.split_first_chunk::<8>()?;
    let (sum, magic) = rest.split_first_chunk::<4>()?;
    let payload = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let sums = sums_and_payload.get(payload..)?;
    let in_order = magic == MAGIC
        && sums.len() == 4 * payload.div_ceil(BLOCK)
        && crc32c::crc32c_append(crc32c::crc32c(sums), length) == u32::from_le_bytes(*sum);
    in_order.then_some(payload)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::{Class, Key, Options};

    fn shelf() -> (TempDir, Shelf) {
        let directory = TempDir::new().unwrap();
        let shelf = Shelf::open(directory.path().join("a/b")).unwrap();
        (directory, shelf)
    }

    fn payload(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 + i / 256) as u8).collect()
    }

    #[test]
    fn what_was_put_comes_back() {
        let (_directory, shelf) = shelf();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 70 * BLOCK + 5] {
            let bytes = payload(length);
            let put = shelf.put("x", |out| out.write_all(&bytes)).unwrap();
            let got = shelf.get("x").unwrap();
            assert_eq!((put.len(), got.len(), got.is_empty()), (length, length, length == 0));
            assert_eq!(got.bytes(0..length).unwrap(), bytes);
            assert_eq!(got.bytes(length / 2..length).unwrap(), &bytes[length / 2..]);
            assert_eq!(got.bytes(0..length + 1), Err(Damaged));
            assert_eq!(got.check_all(), Ok(()));
        }
        shelf.remove("missing").unwrap();
        let mode = fs::metadata(shelf.directory().join("x")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        shelf.remove("x").unwrap();
        assert!(shelf.get("x").is_none());
    }

    #[test]
    fn a_failed_put_leaves_nothing() {
        let (_directory, shelf) = shelf();
        shelf.put("x", |out| out.write_all(b"old")).unwrap();
        let failed = shelf.put("x", |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("producer failed"))
        });
        assert!(failed.is_err());
        assert_eq!(shelf.get("x").unwrap().bytes(0..3).unwrap(), b"old");
        assert_eq!(fs::read_dir(shelf.directory()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_is_filled_in_any_order() {
        let (_directory, shelf) = shelf();
        for (length, kept) in [(100, 100), (3 * BLOCK, 2 * BLOCK + 7), (BLOCK, 0)] {
            let bytes = payload(length);
            let mut draft = shelf.create(length).unwrap();
            let (front, back) = draft.bytes_mut().split_at_mut(length / 2);
            back.copy_from_slice(&bytes[length / 2..]);
            front.copy_from_slice(&bytes[..length / 2]);
            draft.finish("x", kept).unwrap();
            assert_eq!(shelf.get("x").unwrap().bytes(0..kept).unwrap(), &bytes[..kept]);
            assert_eq!(shelf.get("x").unwrap().len(), kept);
        }
        drop(shelf.create(1000).unwrap());
        assert!(shelf.create(10).unwrap().finish("x", 11).is_err());
        assert_eq!(fs::read_dir(shelf.directory()).unwrap().count(), 1);
    }

    #[test]
    fn files_make_room_first_and_keep_the_limit() {
        let directory = TempDir::new().unwrap();
        let limit = 4 << 20;
        let cache = Cache::open(directory.path(), Options { limit, free_floor: 0 });
        let shelf = Shelf::open(directory.path().join("index")).unwrap().within(cache.clone());
        for number in 0_u32..64 {
            cache.put(Key::new(&number.to_le_bytes()).unwrap(), Class::Data, payload(100_000).into());
            cache.flush();
        }
        let before = cache.usage().data.records;
        let bytes = payload(2 << 20);
        shelf.put("put", |out| out.write_all(&bytes)).unwrap();
        let after = cache.usage();
        assert!(after.committed <= limit && after.data.records < before, "{after:?}");
        let full = |e: io::Error| assert_eq!(e.kind(), io::ErrorKind::StorageFull);
        full(shelf.put("more", |out| out.write_all(&payload(3 << 20))).unwrap_err());
        full(shelf.create(3 << 20).unwrap_err());
        shelf.create(1 << 20).unwrap().finish("draft", 1 << 20).unwrap();
        assert_eq!(shelf.get("put").unwrap().bytes(0..bytes.len()).unwrap(), bytes);
        assert_eq!(shelf.names().len(), 2);
        assert!(cache.usage().committed <= limit);
    }

    #[test]
    fn names_do_not_lead_out() {
        let (_directory, shelf) = shelf();
        for name in ["", ".", "..", "../x", "a/b", ".hidden"] {
            assert!(shelf.put(name, |_| Ok(())).is_err(), "{name:?}");
            assert!(shelf.get(name).is_none());
        }
    }

    #[test]
    fn an_open_file_outlives_its_name() {
        let (_directory, shelf) = shelf();
        let bytes = payload(200_000);
        let file = shelf.put("x", |out| out.write_all(&bytes)).unwrap();
        shelf.sweep(Duration::ZERO, |_| false).unwrap();
        assert!(shelf.get("x").is_none());
        assert_eq!(file.bytes(0..bytes.len()).unwrap(), bytes);
    }

    #[test]
    fn a_sweep_spares_the_young_and_the_wanted() {
        let (_directory, shelf) = shelf();
        for name in ["wanted", "old"] {
            shelf.put(name, |_| Ok(())).unwrap();
        }
        let leftover = shelf.directory().join("z.tmp.0123456789abcdef");
        fs::write(&leftover, "").unwrap();
        shelf.sweep(Duration::from_secs(60), |_| false).unwrap();
        assert!(shelf.get("old").is_some() && leftover.exists());
        shelf.sweep(Duration::ZERO, |name| name == "wanted").unwrap();
        assert!(shelf.get("old").is_none() && shelf.get("wanted").is_some() && leftover.exists());
        let long_ago = SystemTime::now() - 2 * LEFTOVER_AGE;
        File::options().write(true).open(&leftover).unwrap().set_modified(long_ago).unwrap();
        shelf.sweep(Duration::ZERO, |_| true).unwrap();
        assert!(!leftover.exists());
    }

    proptest! {
        #[test]
        fn damage_is_never_given_out(length in 1..3 * BLOCK, at in any::<prop::sample::Index>(), bit in 0..8_u8, cut: bool) {
            let (_directory, shelf) = shelf();
            let bytes = payload(length);
            shelf.put("x", |out| out.write_all(&bytes)).unwrap();
            let path = shelf.directory().join("x");
            let mut file = fs::read(&path).unwrap();
            let at = at.index(file.len());
            if cut { file.truncate(at) } else { file[at] ^= 1 << bit }
            fs::write(&path, &file).unwrap();
            if let Some(file) = shelf.get("x") {
                // The damage lies in one block; all others still read.
                prop_assert!(!cut && at < length);
                prop_assert_eq!(file.bytes(0..length), Err(Damaged));
                prop_assert_eq!(file.check_all(), Err(Damaged));
                prop_assert_eq!(file.bytes(at..at + 1), Err(Damaged));
                let far = (at + BLOCK).min(length - 1);
                if far / BLOCK != at / BLOCK {
                    prop_assert_eq!(file.bytes(far..far + 1), Ok(&bytes[far..=far]));
                }
            }
        }
    }
}
