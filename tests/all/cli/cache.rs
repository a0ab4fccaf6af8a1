//! `larder cache …`

use std::fs;

use serde_json::Value;

use super::client::Client;

/// A client with a snapshot, whose cache keeps contents although its repository is on this machine.
fn caching_client() -> (Client, String) {
    let client = Client::new();
    let source = client.path("source");
    fs::create_dir_all(source.join("d")).unwrap();
    fs::write(source.join("d/file"), vec![5; 100_000]).unwrap();
    let created = client.json(&["snapshot", "create", "--json", source.to_str().unwrap()]);
    let directory = client.path("cache");
    client.ok(&["cache", "set", "--content-cache-size-limit-mb=100", "--cache-directory", directory.to_str().unwrap()]);
    (client, created["id"].as_str().unwrap().to_owned())
}

fn config(client: &Client) -> Value {
    serde_json::from_slice(&fs::read(client.path("config")).unwrap()).unwrap()
}

#[test]
fn info() {
    let (client, snapshot) = caching_client();
    let path = client.path("cache/larder").to_str().unwrap().to_owned();
    assert_eq!(client.ok(&["cache", "info", "--path"]), format!("{path}\n"));
    client.ok(&["restore", &snapshot, client.path("restored").to_str().unwrap()]);
    let info = client.json(&["cache", "info", "--json"]);
    assert_eq!((info["path"].as_str(), info["limitBytes"].as_u64()), (Some(&*path), Some(5_342_880_000)));
    assert_eq!(info["data"]["contents"], 1);
    assert!(info["metadata"]["contents"].as_u64().unwrap() >= 2, "{info}");
    assert!(info["index"]["bytes"].as_u64().unwrap() > 0 && info["keepsData"] == true, "{info}");
    let text = client.ok(&["cache", "info"]);
    assert!(text.contains(&format!("{path}/chunks: 1 contents of files ")), "{text}");
    assert!(text.contains("(limit: 5.3 GB, left free on the disk: "), "{text}");
}

#[test]
fn set_changes_what_was_given_and_keeps_the_rest() {
    let client = Client::new();
    assert!(client.fails(&["cache", "set"]).contains("no changes"));
    assert!(client.fails(&["cache", "set", "--content-cache-size-mb=-1"]).contains("-1"));
    let before = config(&client);
    let messages = client.messages(&[
        "cache",
        "set",
        "--content-cache-size-mb=100",
        "--content-cache-size-limit-mb=200",
        "--metadata-cache-size-mb=300",
        "--metadata-cache-size-limit-mb=400",
        "--max-list-cache-duration=1m",
        "--metadata-min-sweep-age=2h",
    ]);
    assert!(messages.contains("changing content cache size limit to 200 MB\n"), "{messages}");
    let mut after = config(&client);
    let caching = after["caching"].as_object_mut().unwrap();
    for (key, value) in [
        ("maxCacheSize", 100_000_000.0),
        ("contentCacheSizeLimitBytes", 200_000_000.0),
        ("maxMetadataCacheSize", 300_000_000.0),
        ("metadataCacheSizeLimitBytes", 400_000_000.0),
        ("maxListCacheDuration", 60.0),
        ("minMetadataSweepAge", 7200.0),
    ] {
        assert_eq!(caching.remove(key).unwrap().as_f64(), Some(value), "{key}");
    }
    assert_eq!(caching["cacheDirectory"], before["caching"]["cacheDirectory"]);
    assert_eq!(after["storage"], before["storage"]);
    assert_eq!(client.json(&["cache", "info", "--json"])["limitBytes"], 600_000_000);
    let moved = client.messages(&["cache", "set", "--cache-directory=elsewhere/../moved"]);
    assert!(moved.contains("may be deleted"), "{moved}");
    assert_eq!(client.ok(&["cache", "info", "--path"]), format!("{}/larder\n", client.path("moved").display()));
    client.ok(&["cache", "set", "--content-cache-size-mb=0", "--content-cache-size-limit-mb=0"]);
    assert_eq!(client.json(&["cache", "info", "--json"])["keepsData"], false);
    client.ok(&["cache", "set", "--metadata-cache-size-mb=0", "--metadata-cache-size-limit-mb=0"]);
    assert!(client.fails(&["cache", "info"]).contains("caching is off"));
    assert!(client.ok(&["snapshot", "list"]).is_empty());
}

#[test]
fn sync_prefetch_verify_and_clear() {
    let (client, snapshot) = caching_client();
    let contents = |class: &str| client.json(&["cache", "info", "--json"])[class]["contents"].as_u64().unwrap();
    let before = contents("metadata");
    client.messages(&["cache", "sync", "--parallel=4"]);
    assert!(contents("metadata") > before.min(1) && contents("data") == 0);
    let messages = client.messages(&["cache", "sync"]);
    assert!(messages.contains("Fetched 0 contents"), "{messages}");
    client.ok(&["cache", "prefetch", "--hint=none", &snapshot]);
    assert_eq!(contents("data"), 0);
    let messages = client.messages(&["cache", "prefetch", &format!("{snapshot}/d/file")]);
    assert!(messages.contains("Fetched 1 contents"), "{messages}");
    assert_eq!(contents("data"), 1);
    client.ok(&["cache", "prefetch", "--hint=default", &snapshot]);
    let missing = client.run(&["cache", "prefetch", "00112233445566778899aabbccddeeff"]);
    assert_eq!(missing.code, Some(1), "{}", missing.stderr);

    let verified = client.messages(&["cache", "verify"]);
    assert!(!verified.contains("damaged") && verified.contains("Verified "), "{verified}");
    for entry in fs::read_dir(client.path("cache/larder/index")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let verified = client.messages(&["cache", "verify"]);
    assert!(verified.contains("1 damaged contents and files were dropped"), "{verified}");

    let log = client.messages(&["ls", &snapshot, "--log-level=debug"]);
    assert!(log.contains("cache on disk: ") && log.contains(" hits ("), "{log}");
    client.ok(&["cache", "clear", "--partial=blob-list"]);
    client.ok(&["cache", "clear", "--partial=indexes"]);
    assert!(contents("data") == 1 && client.json(&["cache", "info", "--json"])["index"]["files"] == 0);
    client.ok(&["cache", "clear"]);
    assert_eq!(contents("data") + contents("metadata"), 0);
    client.ok(&["restore", &snapshot, client.path("restored").to_str().unwrap()]);
    assert_eq!(fs::read(client.path("restored/d/file")).unwrap(), vec![5; 100_000]);
}

#[test]
fn contents_of_a_local_repository_are_not_kept_unless_asked_for() {
    let client = Client::new();
    let source = client.path("source");
    fs::create_dir(&source).unwrap();
    client.ok(&["snapshot", "create", source.to_str().unwrap()]);
    let messages = client.messages(&["cache", "sync"]);
    assert!(messages.contains("disk of this machine"), "{messages}");
    let info = client.json(&["cache", "info", "--json"]);
    assert_eq!((&info["keepsData"], &info["metadata"]["contents"]), (&Value::Bool(false), &Value::from(0)));
}
