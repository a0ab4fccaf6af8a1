//! `manifest`, `content`, `index`, `blob`

use std::collections::BTreeSet;
use std::io::Read;

use serde_json::Value;

use super::client::{Client, assert_golden, data, sample};
use super::shape::assert_items;

const LOG: &str = "_log_20261121013649_6250_1795225009_1795225009_1_d0c980749cba5fedee03c2d51e463be2";

/// The same items, in whatever order.
fn assert_same(found: &Value, expected: &Value, key: &str, fields: &[&str]) {
    let set = |list: &Value| -> BTreeSet<String> {
        let of = |item: &Value| fields.iter().map(|field| item[field].to_string()).collect::<Vec<_>>().join(" ");
        list.as_array().unwrap().iter().map(|item| format!("{} {}", item[key], of(item))).collect()
    };
    assert_eq!(set(found), set(expected));
}

#[test]
fn manifests() {
    let client = Client::of_fixture("defaults");
    let text = client.ok(&["manifest", "list", "--json"]);
    assert!(text.starts_with("[\n {\"id\":") && text.ends_with("\n]"), "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    let labels = ["hostname", "path", "policyType", "username"];
    assert_items(&list, &sample("manifest-list.json"), &labels);
    assert_same(&list, &client.expected()["manifests"], "id", &["length", "labels", "mtime"]);
    assert_golden("manifest-list.txt", &client.ok(&["manifest", "list"]));
    let snapshots = client.ok(&["manifest", "ls", "--filter=type:snapshot", "--filter=username:fixuser"]);
    assert_eq!(snapshots.lines().count(), 2, "{snapshots}");
    let sorted = client.ok(&["manifest", "list", "--sort=type", "--sort=path"]);
    assert!(sorted.starts_with("bb58") && sorted.lines().nth(1).unwrap().starts_with("c819"), "{sorted}");
    let both = ["manifest", "show", "8c7c1300f18d00d7051fc66110c707f3", "c819b2f34211bbfa25c9e4cd77c86976"];
    assert_golden("manifest-show.txt", &client.ok(&both));

    let unknown = "8c7c1300f18d00d7051fc66110c707f4";
    let error = client.fails(&["manifest", "show", both[2], unknown]);
    assert_eq!(error, format!("manifest {unknown} does not exist\n"));
    assert!(client.fails(&["manifest", "show", "x"]).contains("\"x\" is not a manifest id"));
    let error = client.fails(&["manifest", "list", "--filter=type"]);
    assert_eq!(error, "invalid --filter \"type\": it must be label:value, such as type:snapshot\n");
}

#[test]
fn manifests_with_tags() {
    let client = Client::new();
    std::fs::create_dir(client.path("source")).unwrap();
    client.ok(&["snapshot", "create", "source", "--tags=foo:bar", "--pin=keepme", "--description=desc here"]);
    let list = client.json(&["manifest", "list", "--json", "--filter=tag:foo:bar"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
    let shown = client.ok(&["manifest", "show", list[0]["id"].as_str().unwrap()]);
    let keys = |text: &str| -> Vec<String> {
        let keys = text.lines().map(|line| line.split(": ").next().unwrap().split("path:").next().unwrap());
        // What belongs to root has no owner to show.
        keys.filter(|key| !["\"uid\"", "\"gid\""].contains(&key.trim())).map(str::to_owned).collect()
    };
    let sample = String::from_utf8(data("samples/manifest-snapshot-tags-pins.json")).unwrap();
    assert_eq!(keys(&shown), keys(sample.trim_end()));
    assert!(!shown.ends_with('\n'));
}

#[test]
fn maintenance_of_a_new_repository_is_kopias() {
    let client = Client::new();
    let list = client.json(&["manifest", "list", "--json", "--filter=type:maintenance"]);
    let shown = client.ok(&["manifest", "show", list[0]["id"].as_str().unwrap()]);
    let sample = String::from_utf8(data("samples/manifest-maintenance.json")).unwrap();
    let of_this_one = |line: &&str| !line.starts_with("// id: ") && !line.starts_with("// modified: ");
    assert!(shown.lines().filter(of_this_one).eq(sample.lines().filter(of_this_one)), "{shown}");
}

#[test]
fn contents() {
    let client = Client::of_fixture("defaults");
    let text = client.ok(&["content", "list", "--json"]);
    assert!(text.starts_with("[\n {\"packFile\":") && text.ends_with("\n]"), "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    let sample = sample("content-list.json");
    for item in list.as_array().unwrap() {
        let like = if item.get("compression").is_some() { &sample[3] } else { &sample[0] };
        super::shape::assert_shape(item, like, &[]);
    }
    assert_eq!(list, client.expected()["contents"]);
    for (golden, arguments) in [
        ("content-list.txt", &["list", "--prefixed"][..]),
        ("content-list-l.txt", &["ls", "-l"]),
        ("content-list-ch.txt", &["list", "-c", "-h", "--prefix=k"]),
        ("content-list-s.txt", &["list", "-s", "--non-prefixed"]),
        ("content-stats.txt", &["stats"]),
        ("content-stats-raw.txt", &["stats", "-r", "--prefix=k"]),
        ("content-show.txt", &["show", "-jz", "m41ac65a1d64709385a0ea30052711bb1"]),
    ] {
        assert_golden(golden, &client.ok(&[&["content"], arguments].concat()));
    }
    assert_eq!(client.ok(&["content", "cat", "2f0e7fa9cc0c5a39077435aad09c5a28"]), "hello world\n");

    assert_eq!(client.fails(&["content", "show", "00"]), "content 00 does not exist\n");
    assert!(client.fails(&["content", "show", "xyz"]).contains("\"xyz\" is not a content id"));
    let error = client.fails(&["content", "show", "-j", "2f0e7fa9cc0c5a39077435aad09c5a28"]);
    assert!(error.contains("it is not JSON"), "{error}");
    client.fails(&["content", "list", "--prefixed", "--non-prefixed"]);
    client.fails(&["content", "stats", "--json"]);
}

#[test]
fn stats_are_laid_out_as_kopias() {
    let client = Client::of_fixture("defaults");
    let layout = |text: &str| -> Vec<String> {
        let is_number = |word: &&str| word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
        let units = ["B", "KB", "MB", "B)", "KB)", "MB)"];
        text.lines()
            .map(|line| {
                let words = line.split_whitespace().filter(|word| !is_number(word) && !units.contains(word));
                words.collect::<Vec<_>>().join(" ")
            })
            .collect()
    };
    let sample = String::from_utf8(data("samples/content-stats.txt")).unwrap();
    assert_eq!(layout(&client.ok(&["content", "stats"])), layout(&sample));
}

#[test]
fn blobs() {
    let client = Client::of_fixture("defaults");
    let text = client.ok(&["blob", "list", "--json"]);
    assert!(text.starts_with("[\n {\"id\":") && text.ends_with("\n]"), "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_items(&list, &sample("blob-list.json"), &[]);
    assert_same(&list, &client.expected()["blobs"], "id", &["length"]);
    for (golden, arguments) in [
        ("blob-list.txt", &["list"][..]),
        ("blob-list-some.txt", &["ls", "--data-only", "--exclude-prefix=q", "--min-size=4331", "--max-size=300000"]),
        ("blob-stats.txt", &["stats"]),
        ("blob-stats-raw.txt", &["stats", "--raw", "--prefix=x"]),
    ] {
        assert_golden(golden, &client.ok(&[&["blob"], arguments].concat()));
    }
    assert_eq!(client.ok(&["blob", "list", "--json", "--prefix=zz"]), "[\n]");
    let format: Value = client.json(&["blob", "show", "kopia.repository"]);
    assert_eq!(format["keyAlgo"], "scrypt-65536-8-1");
    let log = client.run(&["blob", "show", "--decrypt", LOG]).stdout;
    let mut lines = String::new();
    flate2::read::GzDecoder::new(&log[..]).read_to_string(&mut lines).unwrap();
    assert!(lines.starts_with("{\"t\":\"2026-11-21T01:36:49."), "{lines}");
    // Only what the inventory names is decrypted.
    let raw = std::fs::read(client.blob("xn0_8f9f")).unwrap();
    let index = "xn0_8f9f856e178348082de5f974489904e2-sb21cc5bf44e80d02147-c1";
    assert_eq!(client.run(&["blob", "cat", "--decrypt", index]).stdout, raw);

    assert_eq!(client.fails(&["blob", "show", "nosuch"]), "blob nosuch does not exist\n");
    assert!(client.fails(&["blob", "show", "a/b"]).contains("is not a blob id"));
    let path = client.blob(LOG.get(..30).unwrap());
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[20] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let error = client.fails(&["blob", "show", "--decrypt", LOG]);
    assert!(error.starts_with(&format!("blob {LOG} is damaged: ")), "{error}");
}

#[test]
fn indexes() {
    let client = Client::of_fixture("defaults");
    let list = client.json(&["index", "list", "--json"]);
    assert_items(&list, &sample("index-list.json"), &[]);
    assert_same(&list, &client.expected()["index_blobs_active"], "id", &["length", "Superseded"]);
    let blob = "xn0_6788ea9d9747c47e058b6cd0c9f4d4cf-s9fde1d84136322b7147-c1";
    for (golden, arguments) in [
        ("index-list.txt", &["list"][..]),
        ("index-list-summary.txt", &["ls", "--summary"]),
        ("index-inspect.txt", &["inspect", blob]),
        ("index-inspect-all.txt", &["inspect", "--all", "--content-id=kfdabd9015c77f87055e2047f845560ca"]),
    ] {
        assert_golden(golden, &client.ok(&[&["index"], arguments].concat()));
    }
    assert_eq!(client.ok(&["index", "inspect", "--active", "--parallel=1"]).lines().count(), 19);
    assert_eq!(client.ok(&["index", "epoch", "list"]).lines().next(), Some("Current Epoch: 0"));

    let error = client.fails(&["index", "inspect"]);
    assert_eq!(error, "name index blobs to inspect, or pass --all or --active\n");
    assert_eq!(client.fails(&["index", "inspect", "xn0_0"]), "blob xn0_0 does not exist\n");
    client.fails(&["index", "inspect", "--all", blob]);
    client.fails(&["index", "list", "--sort=x"]);
}

#[test]
fn superseded_indexes() {
    let client = Client::of_fixture("epochs-indexes");
    assert_golden("index-epoch-list.txt", &client.ok(&["index", "epoch", "list"]));
    assert_golden("index-list-superseded.txt", &client.ok(&["index", "list", "--superseded", "--sort=name"]));
    let list = client.json(&["index", "list", "--superseded", "--json"]);
    let of = |id: &str| {
        let item = list.as_array().unwrap().iter().find(|item| item["id"].as_str().unwrap().starts_with(id)).unwrap();
        item["Superseded"].clone()
    };
    assert!(of("xr0_4_edd7").is_null() && of("xs6_").is_null());
    let range = of("xs0_a65e");
    assert_eq!(range.as_array().unwrap().len(), 1);
    assert_eq!(range[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "length", "timestamp"]);
    assert!(range[0]["id"].as_str().unwrap().starts_with("xr0_4_edd7"));
    let sizes = client.json(&["index", "list", "--json", "--sort=size"]);
    let sizes: Vec<u64> = sizes.as_array().unwrap().iter().map(|item| item["length"].as_u64().unwrap()).collect();
    assert!(sizes.is_sorted() && sizes.len() > 3);
}

#[test]
fn of_format_version_1() {
    let client = Client::of_fixture("format-v1");
    assert_eq!(client.json(&["content", "list", "--json", "--deleted"]), client.expected()["contents"]);
    let active = client.json(&["index", "list", "--json"]);
    assert_same(&active, &client.expected()["index_blobs_active"], "id", &["length", "Superseded"]);
    let all = client.json(&["index", "list", "--json", "--superseded"]);
    let superseded: Vec<&Value> =
        all.as_array().unwrap().iter().map(|item| &item["Superseded"]).filter(|by| !by.is_null()).collect();
    assert!(superseded.len() == 5 && superseded.iter().all(|by| by[0]["id"] == "n58ad1695be5cdddd8cfea761d2ed832c"));
    assert_eq!(client.ok(&["index", "list"]).lines().last(), Some("total 5 indexes"));
    let log = client.ok(&["blob", "list", "--prefix=m"]);
    let log = client.json(&["blob", "show", "--decrypt", log.split(' ').next().unwrap()]);
    assert_eq!(log["outputMetadata"][0]["id"], "n58ad1695be5cdddd8cfea761d2ed832c");
    let index = client.run(&["blob", "show", "--decrypt", "n58ad1695be5cdddd8cfea761d2ed832c"]).stdout;
    assert_eq!(index[0], 1, "an index of version 1");
    let error = client.fails(&["index", "epoch", "list"]);
    assert_eq!(error, "the repository has no epochs: it is of an older format\n");
}
