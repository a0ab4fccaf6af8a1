use proptest::prelude::*;

use super::super::testing::arbitrary_policy;
use super::*;

fn sample(name: &str) -> String {
    let path = format!("{}/tests/data/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The document of a sample that starts with comment lines.
fn manifest(name: &str) -> String {
    let text = sample(name);
    text[text.find('{').unwrap()..].to_string()
}

/// Indented, with the escapes that Go's encoder adds.
fn as_go_writes_it(policy: &Policy) -> String {
    let text = serde_json::to_string_pretty(policy).unwrap();
    text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

#[test]
fn default_global_is_what_repository_create_writes() {
    assert_eq!(as_go_writes_it(&Policy::default_global()), manifest("manifest-policy-global.json"));
    let compact = sample("policy-show-effective.json");
    assert_eq!(serde_json::to_string(&Policy::default_global()).unwrap(), compact.trim_end());
}

#[test]
fn empty_policy_has_every_section() {
    assert_eq!(as_go_writes_it(&Policy::default()), manifest("manifest-policy-path-empty.json"));
}

#[test]
fn stored_policies_are_written_as_they_were() {
    for name in ["manifest-policy-global.json", "manifest-policy-path-empty.json", "manifest-policy-actions.json"] {
        let text = manifest(name);
        let policy: Policy = serde_json::from_str(&text).unwrap();
        assert_eq!(as_go_writes_it(&policy), text, "{name}");
    }
    let listed: Vec<serde_json::Value> = serde_json::from_str(&sample("policy-list.json")).unwrap();
    assert_eq!(listed.len(), 5);
    for mut item in listed {
        let policy: Policy = serde_json::from_value(item.clone()).unwrap();
        let fields = item.as_object_mut().unwrap();
        fields.remove("id");
        fields.remove("target");
        assert_eq!(serde_json::to_value(policy).unwrap(), item);
    }
}

#[test]
fn keys_are_in_kopias_order() {
    let text = concat!(
        r#"{"retention":{},"#,
        r#""files":{"ignore":["a"],"noParentIgnore":true,"ignoreDotFiles":["b"],"noParentDotFiles":true,"#,
        r#""ignoreCacheDirs":false,"maxFileSize":1,"oneFileSystem":true},"errorHandling":{},"#,
        r#""scheduling":{"intervalSeconds":1,"timeOfDay":[{"hour":0,"min":5}],"noParentTimeOfDay":true,"#,
        r#""manual":true,"cron":["@daily"],"runMissed":false},"#,
        r#""compression":{"compressorName":"zstd","onlyCompress":[".a"],"noParentOnlyCompress":true,"#,
        r#""neverCompress":[".b"],"noParentNeverCompress":true,"minSize":1,"maxSize":2},"#,
        r#""metadataCompression":{"compressorName":"none"},"splitter":{"algorithm":"FIXED-1M"},"#,
        r#""actions":{"beforeFolder":{"path":"a","args":["b"],"script":"c","timeout":1,"mode":"async"},"#,
        r#""afterFolder":{},"beforeSnapshotRoot":{},"afterSnapshotRoot":{}},"#,
        r#""osSnapshots":{"volumeShadowCopy":{"enable":2}},"#,
        r#""logging":{"directories":{},"entries":{}},"#,
        r#""upload":{"maxParallelSnapshots":1,"maxParallelFileReads":2,"parallelUploadAboveSize":3},"noParent":true}"#,
    );
    let policy: Policy = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&policy).unwrap(), text);
}

#[test]
fn unknown_keys_nulls_and_absent_sections_are_read_as_unset() {
    for text in [
        "{}",
        r#"{"retention":null,"files":{"ignore":null,"maxFileSize":null,"noParentIgnore":null},"noParent":null}"#,
        r#"{"later":{"x":1},"retention":{"keepHalfHourly":3}}"#,
    ] {
        assert_eq!(serde_json::from_str::<Policy>(text).unwrap(), Policy::default(), "{text}");
    }
}

#[test]
fn optional_values_keep_zero_and_false() {
    let policy: Policy =
        serde_json::from_str(r#"{"retention":{"keepLatest":0,"ignoreIdenticalSnapshots":false}}"#).unwrap();
    assert_eq!(policy.retention.keep_latest, Some(0));
    let text = serde_json::to_string(&policy.retention).unwrap();
    assert_eq!(text, r#"{"keepLatest":0,"ignoreIdenticalSnapshots":false}"#);
}

proptest! {
    #[test]
    fn any_policy_reads_back(policy in arbitrary_policy()) {
        let text = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    }
}
