//! What every storage must do, as one check that all of them run: the contract of [`Storage`] turned into calls.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{BlobError, BlobId, BlobRange, PutOptions, Storage, list_all};
use crate::bytes::{Bytes, Payload};

/// Checks an empty storage and leaves it empty. Panics with what does not hold.
pub async fn check(storage: &dyn Storage) {
    assert_eq!(names(storage, "").await, Vec::<String>::new(), "the storage must be empty at the beginning");
    missing_blobs(storage).await;
    put_and_get(storage).await;
    ranges(storage).await;
    overwriting(storage).await;
    listing(storage).await;
    times(storage).await;
    large_blobs(storage).await;
    concurrent_puts(storage).await;
    for blob in list_all(storage, "").await.expect("list everything") {
        storage.delete(&blob.id).await.expect("delete");
    }
    assert_eq!(names(storage, "").await, Vec::<String>::new(), "deleted blobs are not listed");
    if let Some(capacity) = storage.capacity().await.expect("capacity") {
        assert!(capacity.available <= capacity.total && capacity.total > 0, "{capacity:?}");
    }
    assert!(!storage.location().is_empty());
}

fn id(name: &str) -> BlobId {
    BlobId::new(name).expect("test names are valid")
}

async fn names(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    list_all(storage, prefix).await.expect("list").iter().map(|b| b.id.to_string()).collect()
}

async fn put(storage: &dyn Storage, name: &str, bytes: &'static [u8]) {
    storage.put(&id(name), Payload::from(bytes), PutOptions::default()).await.expect("put");
}

async fn missing_blobs(storage: &dyn Storage) {
    for name in ["missing", "pmissing00112233445566778899aabbccddeeff"] {
        assert!(matches!(storage.get(&id(name), BlobRange::All).await, Err(BlobError::NotFound { .. })));
        let part = BlobRange::Part { offset: 0, length: 1 };
        assert!(matches!(storage.get(&id(name), part).await, Err(BlobError::NotFound { .. })));
        assert!(matches!(storage.stat(&id(name)).await, Err(BlobError::NotFound { .. })));
        storage.delete(&id(name)).await.expect("deleting what is not there succeeds");
    }
}

async fn put_and_get(storage: &dyn Storage) {
    let name = id("p0123456789abcdef0123456789abcdef-s0");
    let mut payload = Payload::default();
    for part in [&b"ab"[..], b"", b"cde"] {
        payload.push(Bytes::from_static(part));
    }
    storage.put(&name, payload, PutOptions::default()).await.expect("put in pieces");
    assert_eq!(storage.get(&name, BlobRange::All).await.expect("get"), "abcde");
    let stat = storage.stat(&name).await.expect("stat");
    assert_eq!((stat.id, stat.length), (name.clone(), 5));
    put(storage, "empty", b"").await;
    assert_eq!(storage.get(&id("empty"), BlobRange::All).await.expect("get empty"), "");
    // As many pieces as a pack of small contents has.
    let mut many = Payload::default();
    for i in 0..5000_u32 {
        many.push(i.to_be_bytes().to_vec());
    }
    let whole = many.to_bytes();
    storage.put(&name, many, PutOptions::default()).await.expect("put in many pieces");
    assert_eq!(storage.get(&name, BlobRange::All).await.expect("get"), whole);
}

async fn ranges(storage: &dyn Storage) {
    let name = id("range");
    put(storage, "range", b"0123456789").await;
    for (offset, length, expected) in [(0, 10, "0123456789"), (3, 4, "3456"), (9, 1, "9"), (0, 0, ""), (10, 0, "")] {
        let part = BlobRange::Part { offset, length };
        assert_eq!(storage.get(&name, part).await.expect("a range inside"), expected, "{part:?}");
    }
    for (offset, length) in [(0, 11), (10, 1), (11, 0), (5, u64::MAX), (u64::MAX, u64::MAX)] {
        let part = BlobRange::Part { offset, length };
        let answer = storage.get(&name, part).await;
        assert!(matches!(answer, Err(BlobError::InvalidRange { .. })), "{part:?}: {answer:?}");
    }
}

async fn overwriting(storage: &dyn Storage) {
    put(storage, "again", b"first").await;
    put(storage, "again", b"2nd").await;
    assert_eq!(storage.get(&id("again"), BlobRange::All).await.expect("get"), "2nd");
    let only_new = PutOptions { no_overwrite: true, ..PutOptions::default() };
    let answer = storage.put(&id("again"), Payload::from(&b"third"[..]), only_new).await;
    assert!(matches!(answer, Err(BlobError::AlreadyExists { .. })), "{answer:?}");
    assert_eq!(storage.get(&id("again"), BlobRange::All).await.expect("get"), "2nd");
    storage.put(&id("fresh"), Payload::from(&b"new"[..]), only_new).await.expect("put of a new name");
    assert_eq!(storage.get(&id("fresh"), BlobRange::All).await.expect("get"), "new");
}

async fn listing(storage: &dyn Storage) {
    let all = [
        "xn0_00112233445566778899aabbccddeeff-s0123456789abcdef147-c1",
        "xn10_00112233445566778899aabbccddeeff-s0123456789abcdef147-c1",
        "xn1_00112233445566778899aabbccddeeff-s0123456789abcdef147-c1",
        "xe1",
        "q00112233445566778899aabbccddeeff-s0123456789abcdef147",
        "q0",
    ];
    for name in all {
        put(storage, name, b"x").await;
    }
    for prefix in ["x", "xn", "xn1", "xn1_", "xn10_0", "xe1", "q", "q0", "q001", "q00112233445566778899", "z", all[0]] {
        let expected: BTreeSet<_> =
            all.iter().filter(|name| name.starts_with(prefix)).map(ToString::to_string).collect();
        let listed = names(storage, prefix).await;
        assert_eq!(listed, expected.into_iter().collect::<Vec<_>>(), "prefix {prefix:?}");
    }
    storage.delete(&id(all[4])).await.expect("delete");
    assert_eq!(names(storage, "q").await, ["q0"]);
}

async fn times(storage: &dyn Storage) {
    put(storage, "time", b"x").await;
    let stat = storage.stat(&id("time")).await.expect("stat");
    let listed = list_all(storage, "time").await.expect("list");
    assert_eq!(listed, std::slice::from_ref(&stat), "a listing and stat tell the same");
    let skew = Timestamp::now().duration_since(stat.timestamp).abs();
    assert!(skew < SignedDuration::from_mins(5), "the storage's clock is off by {skew}");
    put(storage, "time", b"y").await;
    assert!(storage.stat(&id("time")).await.expect("stat").timestamp >= stat.timestamp);
}

async fn large_blobs(storage: &dyn Storage) {
    let large: Bytes = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>().into();
    let name = id("large");
    storage.put(&name, Payload::from(large.clone()), PutOptions::default()).await.expect("put 20 MB");
    assert_eq!(storage.get(&name, BlobRange::All).await.expect("get 20 MB"), large);
    let part = BlobRange::Part { offset: 12_345_678, length: 1000 };
    assert_eq!(storage.get(&name, part).await.expect("get a part"), large.slice(12_345_678..12_346_678));
}

/// Writers of one name do not mix: readers see one or the other.
async fn concurrent_puts(storage: &dyn Storage) {
    let name = id("contended00112233445566778899");
    let versions: Vec<Bytes> = (0..8_u8).map(|i| vec![i; 100_000 + usize::from(i)].into()).collect();
    let puts = versions.iter().map(|v| storage.put(&name, Payload::from(v.clone()), PutOptions::default()));
    let reads = (0..8).map(|_| storage.get(&name, BlobRange::All));
    let (puts, reads) = futures::join!(futures::future::join_all(puts), futures::future::join_all(reads));
    for put in puts {
        put.expect("concurrent put");
    }
    for read in reads {
        match read {
            Ok(bytes) => assert!(versions.contains(&bytes), "a mixture of two puts"),
            Err(e) => assert!(e.is_not_found(), "{e}"),
        }
    }
    assert!(versions.contains(&storage.get(&name, BlobRange::All).await.expect("get")));
}
