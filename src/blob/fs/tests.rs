use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::super::list_all;
use super::*;

fn put(name: &str, bytes: &'static [u8]) -> (BlobId, Payload) {
    (BlobId::new(name).unwrap(), Payload::from(bytes))
}

const PACK: &str = "p2171335162f200351066f1c4a989c752-s5b2876517b0eda2a147";

fn config(directory: &TempDir, shards: Option<Vec<usize>>) -> FilesystemConfig {
    FilesystemConfig { dir_shards: shards, ..FilesystemConfig::new(directory.path()) }
}

#[tokio::test]
async fn obeys_the_contract_with_every_sharding() {
    for shards in [None, Some(vec![]), Some(vec![3, 3]), Some(vec![1, 1, 1, 1])] {
        let directory = TempDir::new().unwrap();
        let storage = FilesystemStorage::create(&config(&directory, shards)).unwrap();
        super::super::conformance::check(&storage).await;
    }
    let directory = TempDir::new().unwrap();
    let overrides = r#"{"default":[2,2],"maxNonShardedLength":10,"overrides":[{"prefix":"p","shards":[1,1,1]}]}"#;
    fs::write(directory.path().join(".shards"), overrides).unwrap();
    super::super::conformance::check(&FilesystemStorage::open(&config(&directory, None)).unwrap()).await;
}

#[tokio::test]
async fn only_a_writer_makes_the_shards_file() {
    let directory = TempDir::new().unwrap();
    let shards = directory.path().join(".shards");
    let storage = FilesystemStorage::open(&config(&directory, None)).unwrap();
    let (id, payload) = put(PACK, b"x");
    assert!(storage.get(&id, BlobRange::All).await.unwrap_err().is_not_found());
    assert!(list_all(&storage, "").await.unwrap().is_empty());
    storage.delete(&id).await.unwrap();
    assert!(!shards.exists());
    storage.put(&id, payload, PutOptions::default()).await.unwrap();
    assert_eq!(fs::read_to_string(&shards).unwrap(), "{\"default\":[3,3],\"maxNonShardedLength\":20}\n");
    assert!(directory.path().join("p21/713/35162f200351066f1c4a989c752-s5b2876517b0eda2a147.f").exists());
}

#[tokio::test]
async fn a_new_repository_is_sharded_as_kopia_does() {
    let directory = TempDir::new().unwrap();
    let inside = directory.path().join("a/b");
    let storage = FilesystemStorage::create(&FilesystemConfig::new(&inside)).unwrap();
    let (id, payload) = put(PACK, b"x");
    storage.put(&id, payload, PutOptions::default()).await.unwrap();
    let file = inside.join("p/217/1335162f200351066f1c4a989c752-s5b2876517b0eda2a147.f");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn two_first_writers_agree_on_the_sharding() {
    let directory = TempDir::new().unwrap();
    let one = FilesystemStorage::create(&config(&directory, None)).unwrap();
    let same = FilesystemStorage::create(&config(&directory, None)).unwrap();
    let other = FilesystemStorage::create(&config(&directory, Some(vec![2]))).unwrap();
    let (id, payload) = put(PACK, b"x");
    one.put(&id, payload.clone(), PutOptions::default()).await.unwrap();
    same.put(&id, payload.clone(), PutOptions::default()).await.unwrap();
    let refused = other.put(&id, payload, PutOptions::default()).await.unwrap_err();
    assert!(refused.to_string().contains(".shards"), "{refused}");
}

#[tokio::test]
async fn foreign_files_are_not_blobs() {
    let directory = TempDir::new().unwrap();
    let storage = FilesystemStorage::create(&config(&directory, None)).unwrap();
    let (id, payload) = put("kopia.repository", b"x");
    storage.put(&id, payload, PutOptions::default()).await.unwrap();
    fs::create_dir(directory.path().join("p")).unwrap();
    for name in [".f", "notes.txt", "kopia.repository.f.tmp.0123456789abcdef", "p/x", "ä.f", "with space.f"] {
        fs::write(directory.path().join(name), "y").unwrap();
    }
    let listed = list_all(&storage, "").await.unwrap();
    assert_eq!(listed.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["kopia.repository"]);
}

#[tokio::test]
async fn no_temporary_file_stays_behind() {
    let directory = TempDir::new().unwrap();
    let storage = FilesystemStorage::create(&config(&directory, None)).unwrap();
    let (id, payload) = put("kopia.repository", b"x");
    let only_new = PutOptions { no_overwrite: true, ..PutOptions::default() };
    storage.put(&id, payload.clone(), only_new).await.unwrap();
    storage.put(&id, payload, only_new).await.unwrap_err();
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".shards", "kopia.repository.f"]);
}

#[tokio::test]
async fn problems_are_named() {
    let directory = TempDir::new().unwrap();
    let missing = FilesystemStorage::open(&FilesystemConfig::new(directory.path().join("no"))).unwrap_err();
    assert!(missing.to_string().contains("/no"), "{missing}");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(FilesystemStorage::open(&FilesystemConfig::new(&file)).is_err());
    fs::write(directory.path().join(".shards"), "{").unwrap();
    let damaged = FilesystemStorage::open(&config(&directory, None)).unwrap_err();
    assert!(damaged.to_string().contains(".shards"), "{damaged}");

    // The root vanished, as an unmounted disk does: it is never made anew.
    let root = directory.path().join("root");
    let storage = FilesystemStorage::create(&FilesystemConfig::new(&root)).unwrap();
    fs::remove_dir(&root).unwrap();
    let (id, payload) = put(PACK, b"x");
    assert!(storage.put(&id, payload.clone(), PutOptions::default()).await.is_err());
    assert!(list_all(&storage, "").await.is_err());
    assert!(!root.exists());

    let retention = Some(super::super::Retention {
        mode: super::super::RetentionMode::Governance,
        period: std::time::Duration::from_secs(86400),
    });
    let refused = storage.put(&id, payload, PutOptions { retention, ..PutOptions::default() }).await;
    assert!(matches!(refused, Err(BlobError::Unsupported { .. })));
}

#[test]
fn the_config_is_kopias() {
    let kopias = r#"{"path":"/data/repo","fileMode":384,"dirMode":448,"dirShards":null}"#;
    let config: FilesystemConfig = serde_json::from_str(kopias).unwrap();
    assert_eq!((config.file_mode, config.dir_mode, &config.dir_shards), (Some(0o600), Some(0o700), &None));
    assert_eq!(serde_json::to_string(&config).unwrap(), kopias);
}

#[test]
fn a_disk_of_this_machine_is_local() {
    let directory = TempDir::new().unwrap();
    assert!(FilesystemStorage::create(&config(&directory, None)).unwrap().is_local());
    assert!(is_network(0x6969) && is_network(0xfe53_4d42));
    let (ext4, tmpfs, overlay) = (0xef53, 0x0102_1994, 0x794c_7630);
    assert!(![ext4, tmpfs, overlay].into_iter().any(is_network));
}
