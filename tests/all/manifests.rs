//! Manifests through a whole repository.

use larder::manifest::{Labels, ManifestSet};
use larder::repo::Repository;
use serde_json::{Value, json};

use crate::support::TestRepository;

fn labels(kind: &str, name: &str) -> Labels {
    [("type".to_owned(), kind.to_owned()), ("name".to_owned(), name.to_owned())].into()
}

/// Values of all manifests of a type, sorted.
fn values(manifests: &ManifestSet, kind: &str) -> Vec<u64> {
    let wanted = [("type".to_owned(), kind.to_owned())].into();
    let mut values: Vec<u64> =
        manifests.find(&wanted).map(|m| m.parse::<Value>().unwrap()["value"].as_u64().unwrap()).collect();
    values.sort_unstable();
    values
}

async fn put(repository: &Repository, name: &str, value: u64) {
    let writer = repository.writer().await.unwrap();
    writer.put_manifest(labels("test", name), &json!({"value": value, "text": "<&>"})).unwrap();
    writer.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_found_by_its_labels() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    put(&open, "a", 1).await;
    put(&open, "b", 2).await;
    let manifests = repository.open().await.manifests().await.unwrap();
    assert_eq!(values(&manifests, "test"), [1, 2]);
    let wanted = labels("test", "b");
    let found: Vec<_> = manifests.find(&wanted).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].data.get(), r#"{"value":2,"text":"\u003c\u0026\u003e"}"#);
    assert_eq!(manifests.get(found[0].id).unwrap().modified, found[0].modified);
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_and_deleting() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    put(&open, "a", 1).await;
    let writer = open.writer().await.unwrap();
    writer.replace_manifest(labels("test", "a"), &json!({"value": 10})).unwrap();
    writer.replace_manifest(labels("test", "new"), &json!({"value": 20})).unwrap();
    // Seen by nobody, so it need not be written.
    let gone = writer.put_manifest(labels("test", "gone"), &json!({"value": 30})).unwrap();
    writer.delete_manifest_by_id(gone, jiff::Timestamp::now());
    writer.commit().await.unwrap();
    let manifests = repository.open().await.manifests().await.unwrap();
    assert_eq!(values(&manifests, "test"), [10, 20]);

    // However far ahead the other one's clock was, what it wrote can be deleted.
    let writer = open.writer().await.unwrap();
    for manifest in manifests.find(&labels("test", "a")) {
        let mut ahead = manifest.clone();
        ahead.modified += jiff::SignedDuration::from_hours(100);
        writer.delete_manifest(&ahead);
    }
    writer.commit().await.unwrap();
    assert_eq!(values(&repository.open().await.manifests().await.unwrap(), "test"), [20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_do_not_lose_each_others_manifests() {
    let repository = TestRepository::new().await;
    let (one, two) = (repository.open().await, repository.open().await);
    let (first, second) = (one.writer().await.unwrap(), two.writer().await.unwrap());
    first.put_manifest(labels("test", "one"), &json!({"value": 1})).unwrap();
    second.put_manifest(labels("test", "two"), &json!({"value": 2})).unwrap();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(values(&repository.open().await.manifests().await.unwrap(), "test"), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_contents_are_compacted_and_nothing_is_lost() {
    let repository = TestRepository::new().await;
    for value in 0..40 {
        // A client that has had it open for long sees no less.
        put(&repository.open().await, &format!("m{value}"), value).await;
    }
    let open = repository.open().await;
    assert_eq!(values(&open.manifests().await.unwrap(), "test"), (0..40).collect::<Vec<u64>>());
    let indexes = open.contents().indexes();
    let prefix = larder::content::id::Prefix::MANIFEST;
    let live = indexes.entries(prefix..=prefix).filter(|e| !e.as_ref().unwrap().deleted).count();
    assert!(live < 20, "{live} contents with manifests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_compaction_does_not_bring_back_what_was_deleted() {
    let repository = TestRepository::new().await;
    let late = repository.open().await;
    let writer = late.writer().await.unwrap();
    for value in 0..15 {
        put(&repository.open().await, &format!("m{value}"), value).await;
    }
    let other = repository.open().await;
    put(&other, "m15", 15).await;
    late.contents().refresh().await.unwrap();
    let before = late.manifests().await.unwrap();
    assert_eq!(values(&before, "test").len(), 16);

    // The others delete one, and compact twice, before the late one compacts what it has seen.
    let deleting = repository.open().await.writer().await.unwrap();
    deleting.delete_manifest(before.find(&labels("test", "m7")).next().unwrap());
    deleting.commit().await.unwrap();
    for value in 100..120 {
        put(&repository.open().await, &format!("m{value}"), value).await;
    }
    assert!(tokio::task::block_in_place(|| before.compact(writer.contents(), jiff::Timestamp::now())).unwrap());
    writer.commit().await.unwrap();
    let after = values(&repository.open().await.manifests().await.unwrap(), "test");
    assert_eq!(after, (0..16).filter(|value| *value != 7).chain(100..120).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_kept_for_a_month() {
    for (days, kept) in [(29, 1), (31, 0)] {
        let repository = TestRepository::new().await;
        put(&repository.open().await, "gone", 1).await;
        // All begin before there is anything to compact.
        let open = repository.open().await;
        let compacting = open.writer().await.unwrap();
        let mut writers = Vec::new();
        for _ in 0..20 {
            writers.push(repository.open().await.writer().await.unwrap());
        }
        for writer in writers {
            writer.delete_manifest(writer.manifests().find(&labels("test", "gone")).next().unwrap());
            writer.put_manifest(labels("test", "other"), &json!({"value": 2})).unwrap();
            writer.commit().await.unwrap();
        }
        open.contents().refresh().await.unwrap();
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let set = open.manifests().await.unwrap();
        assert!(tokio::task::block_in_place(|| set.compact(compacting.contents(), later)).unwrap());
        compacting.commit().await.unwrap();
        let set = repository.open().await.manifests().await.unwrap();
        assert_eq!((set.contents().len(), set.tombstones().len()), (1, kept));
        assert_eq!(values(&set, "test"), [2; 20]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_keeps_the_others() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    put(&open, "a", 1).await;
    put(&open, "b", 2).await;
    let packs = larder::blob::list_all(&*repository.storage, "q").await.unwrap();
    repository.memory.replace(&packs[0].id, "damaged");
    let manifests = repository.open().await.manifests().await.unwrap();
    assert_eq!(manifests.unreadable.len(), 1);
    assert!(manifests.unreadable[0].why.contains(packs[0].id.as_str()), "{}", manifests.unreadable[0].why);
    assert_eq!(values(&manifests, "test").len(), 1);
}
