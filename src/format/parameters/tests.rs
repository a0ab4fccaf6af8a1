use serde_json::{Value, json};

use super::*;

/// The parameters of a new repository, with some of them changed.
fn parse(change: impl FnOnce(&mut Value)) -> Result<Parameters, FormatError> {
    let new = Parameters::new(FormatVersion::LATEST).unwrap().to_json().unwrap();
    let mut json: Value = serde_json::from_slice(new.as_bytes()).unwrap();
    change(&mut json["format"]);
    Parameters::parse(json.to_string().as_bytes())
}

fn with(key: &str, value: Value) -> Result<Parameters, FormatError> {
    parse(|format| format[key] = value)
}

#[test]
fn what_is_left_out_has_its_meaning() {
    let without = |key: &str| parse(|format| _ = format.as_object_mut().unwrap().remove(key)).unwrap();
    assert_eq!(without("maxPackSize").max_pack_size, 20_971_520);
    assert_eq!(without("indexVersion").index_version, 1);
    assert_eq!(without("splitter").splitter.name(), "FIXED");
    assert!(!without("enablePasswordChange").enable_password_change);
    assert!(without("secret").secret.is_empty());
    // Nothing is on that is not said to be on, and no number is there that was not written.
    assert_eq!(without("epochParameters").epochs, EpochParameters::disabled());
    let epochs = with("epochParameters", json!({"MinEpochDuration": 5})).unwrap().epochs;
    let expected = EpochParameters { min_epoch_duration: SignedDuration::from_nanos(5), ..EpochParameters::disabled() };
    assert_eq!(epochs, expected);
    assert!(with("somethingNew", json!({"a": 1})).is_ok());
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (key, value, named) in [
        ("hash", json!("MD5"), "hash algorithm \"MD5\""),
        ("encryption", json!("ROT13"), "encryption algorithm \"ROT13\""),
        ("splitter", json!("DYNAMIC-4M-GEAR"), "splitter \"DYNAMIC-4M-GEAR\""),
        ("version", json!(0), "repository format version \"0\""),
        ("version", json!(4), "repository format version \"4\""),
        ("indexVersion", json!(3), "index version \"3\""),
    ] {
        let error = with(key, value).unwrap_err();
        assert!(matches!(error, FormatError::Unknown { .. }) && error.to_string().contains(named), "{error}");
    }
    assert!(matches!(with("masterKey", json!("")), Err(FormatError::Corrupt { .. })));
    assert!(matches!(with("maxPackSize", json!(-1)), Err(FormatError::Corrupt { .. })));
}

#[test]
fn error_correction_is_active_with_a_name_and_a_percentage_from_version_2_on() {
    let ecc = |version: u8, percent: i64| {
        parse(|format| {
            format["version"] = version.into();
            format["ecc"] = "REED-SOLOMON-CRC32".into();
            format["eccOverheadPercent"] = percent.into();
        })
    };
    assert!(ecc(3, 0).is_ok());
    assert!(ecc(1, 5).is_ok());
    for version in [2, 3] {
        let error = ecc(version, 5).unwrap_err();
        assert_eq!(error, FormatError::ErrorCorrection { algorithm: "REED-SOLOMON-CRC32".to_owned() });
    }
}

#[test]
fn required_features() {
    let features = |list: Value| with("requiredFeatures", list);
    assert_eq!(features(json!([{"feature": "index-v1"}, {"feature": "index-v2"}])).unwrap().required_features.len(), 2);
    let warned = features(json!([{"feature": "x", "ifNotUnderstood": {"warn": true}}])).unwrap();
    assert_eq!(warned.required_features[0].feature, "x");
    let what = json!({"warn": false, "message": "why", "url": "https://there", "upgradeToVersion": "9"});
    let error = features(json!([{"feature": "x", "ifNotUnderstood": what}])).unwrap_err().to_string();
    for part in ["\"x\"", "why", "https://there", "version 9"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(features(json!([{"feature": "x"}])), Err(FormatError::RequiredFeature(_))));
}

/// Format page 09 §9.4: drain = drift + 2 x timeout; locked from creation + notice - drain on, or at once when the
/// notice is shorter than the drain.
#[test]
fn upgrade_locks() {
    let created: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let lock = |notice: i64| UpgradeLock {
        owner_id: "somebody".to_owned(),
        creation_time: created,
        advance_notice_duration: SignedDuration::from_secs(notice),
        io_drain_timeout: SignedDuration::from_secs(100),
        status_poll_interval: SignedDuration::from_secs(60),
        message: String::new(),
        max_permitted_clock_drift: SignedDuration::from_secs(10),
    };
    let at = |seconds: i64| created + SignedDuration::from_secs(seconds);
    for (notice, now, locked) in [
        (0, at(0), true),
        (209, at(-1000), true),
        (210, at(-1), false),
        (210, at(0), true),
        (1000, at(789), false),
        (1000, at(790), true),
        (1000, at(100_000), true),
    ] {
        assert_eq!(lock(notice).is_locked(now), locked, "{notice} {now}");
    }
    let stored = with("upgradeLock", json!(lock(1000))).unwrap();
    assert_eq!(stored.upgrade_lock, Some(lock(1000)));
    assert!(stored.check_upgrade_lock(at(0)).is_ok());
    assert!(matches!(stored.check_upgrade_lock(at(790)), Err(FormatError::Locked { .. })));
}
