//! Contents written and read through a whole repository.

use std::sync::Arc;

use larder::blob::faulty::{Action, Faulty, Operation};
use larder::blob::{BlobId, list_all};
use larder::content::id::{ContentId, Prefix};
use larder::content::{ContentError, Scratch};
use larder::format::testdata::splitmix;
use larder::format::{CompressionAlgorithm, FormatVersion};
use larder::repo::Writer;

use crate::support::TestRepository;

fn put(writer: &Writer, prefix: Prefix, data: &[u8]) -> Result<ContentId, ContentError> {
    tokio::task::block_in_place(|| {
        writer.contents().put(prefix, data, Some(CompressionAlgorithm::Zstd), &mut Scratch::default())
    })
}

async fn blobs(repository: &TestRepository, prefix: &str) -> Vec<String> {
    list_all(&*repository.storage, prefix).await.unwrap().iter().map(|b| b.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_read_by_everybody_after_the_flush() {
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        let repository = TestRepository::with_version(version).await;
        let (writing, other) = (repository.open().await, repository.open().await);
        let writer = writing.writer().await.unwrap();
        let data: Vec<Vec<u8>> =
            (0..200).map(|i| splitmix(i, (i * i * 7) as usize)).chain([vec![b'a'; 100_000]]).collect();
        let ids: Vec<ContentId> = data.iter().map(|d| put(&writer, Prefix::NONE, d).unwrap()).collect();
        assert!(matches!(other.contents().get(&ids[5]).await, Err(ContentError::NotFound { .. })));
        writer.flush().await.unwrap();
        other.contents().refresh().await.unwrap();
        for (id, data) in ids.iter().zip(&data) {
            assert_eq!(other.contents().get(id).await.unwrap(), data);
            assert_eq!(writing.contents().get(id).await.unwrap(), data);
        }
        let entries: Vec<_> = ids.iter().map(|id| other.contents().entry(id).unwrap()).collect();
        let fetched = other.contents().fetch(&entries).await;
        for ((entry, stored), data) in entries.iter().zip(fetched).zip(&data) {
            assert_eq!(other.contents().decode(entry, &stored.unwrap()).unwrap(), data);
        }
        assert!(blobs(&repository, "s").await.is_empty(), "the session is over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_data_is_stored_once() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let writer = open.writer().await.unwrap();
    let data = splitmix(1, 1000);
    let first = put(&writer, Prefix::NONE, &data).unwrap();
    assert_eq!(put(&writer, Prefix::NONE, &data).unwrap(), first);
    let directory = put(&writer, Prefix::DIRECTORY, &data).unwrap();
    assert_ne!(directory, first, "the prefix is part of the id");
    assert_eq!(writer.contents().stats().contents, 2);
    writer.commit().await.unwrap();
    let again = repository.open().await.writer().await.unwrap();
    put(&again, Prefix::NONE, &data).unwrap();
    assert_eq!(again.contents().stats().contents, 0);
    again.commit().await.unwrap();
    assert_eq!(blobs(&repository, "p").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_content_can_be_read_and_comes_back_when_it_is_put_again() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let writer = open.writer().await.unwrap();
    let id = put(&writer, Prefix::NONE, b"data").unwrap();
    writer.flush().await.unwrap();
    let before = open.contents().entry(&id).unwrap();
    writer.contents().delete(&id).unwrap();
    writer.flush().await.unwrap();
    let deleted = open.contents().entry(&id).unwrap();
    assert!(deleted.deleted && deleted.timestamp > before.timestamp);
    assert_eq!(deleted.pack, before.pack);
    assert_eq!(open.contents().get(&id).await.unwrap(), "data");
    put(&writer, Prefix::NONE, b"data").unwrap();
    writer.flush().await.unwrap();
    let back = open.contents().entry(&id).unwrap();
    assert!(!back.deleted && back.timestamp > deleted.timestamp && back.pack != before.pack);
    assert_eq!(open.contents().get(&id).await.unwrap(), "data");
}

#[tokio::test(flavor = "multi_thread")]
async fn full_packs_are_uploaded_while_others_are_filled() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let writer = open.writer().await.unwrap();
    for i in 0..50 {
        put(&writer, Prefix::NONE, &splitmix(i, 1 << 20)).unwrap();
    }
    writer.commit().await.unwrap();
    let packs = list_all(&*repository.storage, "p").await.unwrap();
    assert_eq!(packs.len(), 3);
    assert!(packs.iter().all(|pack| pack.length < 22 << 20 && pack.length > 9 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_threads_put_the_same_and_different_things() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let writer = Arc::new(open.writer().await.unwrap());
    let threads: Vec<_> = (0..8_u64)
        .map(|thread| {
            let writer = Arc::clone(&writer);
            tokio::task::spawn_blocking(move || {
                let mut scratch = Scratch::default();
                for i in 0..300 {
                    let data = splitmix(i % 100 * if i % 3 == 0 { 1 } else { thread + 2 }, 3000);
                    writer.contents().put(Prefix::NONE, &data, None, &mut scratch).unwrap();
                }
            })
        })
        .collect();
    // Flushes meanwhile end sessions under the threads' hands.
    for _ in 0..5 {
        writer.flush().await.unwrap();
    }
    for thread in threads {
        thread.await.unwrap();
    }
    writer.flush().await.unwrap();
    let fresh = repository.open().await;
    for thread in 0..8 {
        for i in 0..300 {
            let data = splitmix(i % 100 * if i % 3 == 0 { 1 } else { thread + 2 }, 3000);
            let id = writer.contents().id_of(Prefix::NONE, &data);
            assert_eq!(fresh.contents().get(&id).await.unwrap(), data);
        }
    }
    assert!(blobs(&repository, "s").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_stops_the_session_and_shows_nothing() {
    let repository = TestRepository::new().await;
    let fails = |call: &larder::blob::faulty::Call| {
        if call.operation == Operation::Put && call.name.starts_with('p') { Action::Fail } else { Action::Pass }
    };
    let faulty = Arc::new(Faulty::new(Arc::clone(&repository.storage), fails));
    let open = repository.open_through(faulty).await;
    let writer = open.writer().await.unwrap();
    let id = put(&writer, Prefix::NONE, b"data").unwrap();
    let failed = writer.flush().await.unwrap_err();
    assert!(failed.to_string().contains('p'), "{failed}");
    assert!(matches!(put(&writer, Prefix::NONE, b"more"), Err(ContentError::Stopped(_))));
    assert!(writer.flush().await.is_err());
    assert!(blobs(&repository, "x").await.is_empty(), "no index names what is not there");
    assert!(repository.open().await.contents().get(&id).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_indexes_are_named_and_keep_nobody_out() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let mut ids = Vec::new();
    for i in 0..3 {
        let writer = open.writer().await.unwrap();
        ids.push(put(&writer, Prefix::NONE, &splitmix(i, 100)).unwrap());
        writer.commit().await.unwrap();
    }
    let indexes = blobs(&repository, "xn").await;
    let victim = BlobId::new(&indexes[1]).unwrap();
    let whole = repository.storage.get(&victim, larder::blob::BlobRange::All).await.unwrap();
    let mut flipped = whole.to_vec();
    flipped[20] ^= 1;
    for damage in [Vec::new(), whole[..whole.len() / 2].to_vec(), flipped] {
        repository.memory.replace(&victim, damage);
        let open = repository.open().await;
        let damaged: Vec<String> = open.contents().indexes().damaged.iter().map(|d| d.blob.to_string()).collect();
        assert_eq!(damaged, [victim.to_string()]);
        let mut readable = 0;
        for id in &ids {
            match open.contents().get(id).await {
                Ok(_) => readable += 1,
                Err(e) => assert!(e.to_string().contains(victim.as_str()), "{e}"),
            }
        }
        assert_eq!(readable, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_vanishes_while_it_is_loaded_is_looked_for_again() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let writer = open.writer().await.unwrap();
    let id = put(&writer, Prefix::NONE, b"data").unwrap();
    writer.commit().await.unwrap();
    // The first read of an index answers that it does not exist.
    let lost = std::sync::atomic::AtomicBool::new(false);
    let script = move |call: &larder::blob::faulty::Call| {
        let first = call.operation == Operation::Get
            && call.name.starts_with("xn")
            && !lost.swap(true, std::sync::atomic::Ordering::SeqCst);
        if first { Action::Lose } else { Action::Pass }
    };
    let open = repository.open_through(Arc::new(Faulty::new(Arc::clone(&repository.storage), script))).await;
    assert_eq!(open.contents().get(&id).await.unwrap(), "data");
}
