//! Filling the cache on disk ahead of time.

use futures::StreamExt;

use super::id::{ContentId, Prefix};
use super::index::IndexEntry;
use super::{ContentError, Reader};
use crate::bytes::Bytes;

/// Stored bytes that are fetched at one time; the cache takes so many without dropping any.
const BATCH: u64 = 4 << 20;

/// What became of contents that were to be in the cache.
#[derive(Debug, Default)]
pub struct Prefetched {
    /// Contents that are in the cache now and were not, and their stored bytes.
    pub fetched: u64,
    pub bytes: u64,
    /// Contents that were there already, or are of a class that is not kept.
    pub skipped: u64,
    /// Contents that were fetched, but for which there was no room.
    pub dropped: u64,
    pub errors: Vec<ContentError>,
}

impl Reader {
    /// Whether this reader keeps contents on disk.
    pub fn keeps_contents(&self) -> bool {
        self.stored().is_some()
    }

    /// The ids of all contents with metadata, as far as the indexes are in order.
    pub async fn metadata_ids(&self) -> Result<Vec<ContentId>, ContentError> {
        let mut ids = Vec::new();
        for letter in b'g'..=b'z' {
            if let Some(prefix) = Prefix::from_key_byte(letter) {
                ids.extend(self.ids_of(prefix).await?.0);
            }
        }
        Ok(ids)
    }

    /// Fetches contents that are not in the cache on disk into it, with so many requests under way at one time.
    pub async fn prefetch(&self, ids: &[ContentId], parallel: usize) -> Prefetched {
        let mut all = Prefetched::default();
        let Some(stored) = self.stored() else {
            all.skipped = ids.len() as u64;
            return all;
        };
        let mut missing = Vec::new();
        for id in ids {
            match self.entry(id) {
                Ok(entry) if stored.lacks(&entry) => missing.push(entry),
                Ok(_) => all.skipped += 1,
                Err(e) => all.errors.push(e),
            }
        }
        missing.sort_by(|a, b| (&a.pack, a.pack_offset).cmp(&(&b.pack, b.pack_offset)));
        let writing = tokio::sync::Mutex::new(());
        let mut batches = futures::stream::iter(batches(missing))
            .map(|batch| {
                let writing = &writing;
                async move {
                    let fetched = self.fetch(&batch).await;
                    // One after the other, so that none is dropped because too many wait to be written.
                    let _one = writing.lock().await;
                    self.keep(batch, fetched).await
                }
            })
            .buffer_unordered(parallel.max(1));
        while let Some(batch) = batches.next().await {
            all.fetched += batch.fetched;
            all.bytes += batch.bytes;
            all.dropped += batch.dropped;
            all.errors.extend(batch.errors);
        }
        all
    }

    /// Opens contents, and waits until they are written.
    async fn keep(&self, batch: Vec<IndexEntry>, fetched: Vec<Result<Bytes, ContentError>>) -> Prefetched {
        let (reader, mut kept) = (self.clone(), Prefetched::default());
        let decode = move || {
            let opened = batch.iter().zip(fetched);
            let errors: Vec<_> =
                opened.map(|(entry, stored)| stored.and_then(|stored| reader.decode(entry, &stored)).err()).collect();
            (batch, errors)
        };
        let (batch, errors) = match tokio::task::spawn_blocking(decode).await {
            Ok(decoded) => decoded,
            Err(e) => {
                kept.errors.push(ContentError::internal(e));
                return kept;
            }
        };
        let Some(stored) = self.stored() else { return kept };
        stored.flush().await;
        for (entry, error) in batch.iter().zip(errors) {
            match error {
                Some(e) => kept.errors.push(e),
                None if stored.lacks(entry) => kept.dropped += 1,
                None => {
                    kept.fetched += 1;
                    kept.bytes += u64::from(entry.packed_length);
                }
            }
        }
        kept
    }
}

/// Cuts entries into batches.
fn batches(entries: Vec<IndexEntry>) -> Vec<Vec<IndexEntry>> {
    let (mut batches, mut bytes) = (Vec::<Vec<IndexEntry>>::new(), 0);
    for entry in entries {
        bytes += u64::from(entry.packed_length);
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH => batch.push(entry),
            _ => {
                bytes = entry.packed_length.into();
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::some_entries;
    use super::*;

    #[test]
    fn batches_are_as_large_as_they_may_be() {
        let mut entries = some_entries(5);
        let lengths = [BATCH - 1, 1, 1, BATCH + 1, 5];
        for (entry, length) in entries.iter_mut().zip(lengths) {
            entry.packed_length = length as u32;
        }
        let lengths: Vec<Vec<u64>> = batches(entries)
            .iter()
            .map(|batch| batch.iter().map(|entry| u64::from(entry.packed_length)).collect())
            .collect();
        assert_eq!(lengths, [vec![BATCH - 1, 1], vec![1], vec![BATCH + 1], vec![5]]);
        assert!(batches(Vec::new()).is_empty());
    }
}
