use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::super::testing::arbitrary_policy;
use super::super::{ActionCommand, RetentionPolicy};
use super::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    note: String,
    policies_most_specific_first: Vec<Given>,
    effective: Value,
    definition: Value,
}

#[derive(Deserialize)]
struct Given {
    target: String,
    policy: Policy,
}

fn target(text: &str) -> SourceInfo {
    SourceInfo::parse(text, "h", "u", "/").unwrap()
}

fn numbered(policies: Vec<Policy>) -> Vec<(SourceInfo, Policy)> {
    policies.into_iter().enumerate().map(|(i, policy)| (target(&format!("u@h:/{i}")), policy)).collect()
}

fn merge_all(policies: &[(SourceInfo, Policy)]) -> EffectivePolicy {
    merge(policies.iter().map(|(target, policy)| (target, policy)))
}

fn keep_latest(count: i64) -> Policy {
    Policy { retention: RetentionPolicy { keep_latest: Some(count), ..Default::default() }, ..Default::default() }
}

fn before_folder(path: &str) -> Policy {
    let mut policy = Policy::default();
    policy.actions.before_folder = Some(ActionCommand { path: path.into(), ..Default::default() });
    policy
}

/// kopia's document has no definition of flags and of commands around a folder; ours may have more, never less.
fn assert_covers(ours: &Value, expected: &Value, at: &str) {
    match expected {
        Value::Object(fields) => {
            for (key, value) in fields {
                assert_covers(&ours[key], value, &format!("{at}.{key}"));
            }
        }
        _ => assert_eq!(ours, expected, "{at}"),
    }
}

#[test]
fn merges_as_kopia_does() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/samples/policy-merge-vectors.json"));
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let given: Vec<_> =
            case.policies_most_specific_first.into_iter().map(|g| (target(&g.target), g.policy)).collect();
        let merged = merge_all(&given);
        assert_eq!(serde_json::to_value(&merged.policy).unwrap(), case.effective, "{}", case.note);
        assert_covers(&serde_json::to_value(&merged.definition).unwrap(), &case.definition, &case.note);
    }
}

#[test]
fn hierarchy_is_found_among_the_stored_policies() {
    let stored = vec![
        (SourceInfo::global(), keep_latest(1)),
        (target("@h"), keep_latest(2)),
        (target("u@other:/a/b"), keep_latest(3)),
        (target("u@h:/a"), keep_latest(4)),
        (target("u@h:/a/b/c"), keep_latest(5)),
    ];
    let of = |text: &str| {
        let merged = effective_policy(&target(text), &stored);
        (merged.policy.retention.keep_latest.unwrap(), merged.definition.retention.keep_latest.to_string())
    };
    assert_eq!(of("u@h:/a/b"), (4, "u@h:/a".into()));
    assert_eq!(of("u@h:/x"), (2, "@h".into()));
    assert_eq!(of("u@z:/x"), (1, "(global)".into()));
    assert_eq!(of("u@h:/a/b/c"), (5, "u@h:/a/b/c".into()));
}

#[test]
fn commands_around_a_folder_are_its_own() {
    let stored = vec![(target("u@h:/a"), before_folder("x"))];
    assert!(effective_policy(&target("u@h:/a/b"), &stored).policy.actions.before_folder.is_none());
    let own = effective_policy(&target("u@h:/a"), &stored);
    assert!(own.policy.actions.before_folder.is_some());
    assert_eq!(own.definition.actions.before_folder, target("u@h:/a"));
}

#[test]
fn newest_of_several_policies_of_one_target_comes_first() {
    let stored = vec![(target("@h"), keep_latest(2)), (target("@h"), keep_latest(1))];
    assert_eq!(effective_policy(&target("u@h:/a"), &stored).policy.retention.keep_latest, Some(2));
}

/// The members of an object on the way down to a value; null where one is missing.
fn value_at<'a>(document: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(document, |value, key| &value[key])
}

/// The paths of everything that has a definition.
fn defined_paths(definition: &Value, above: &[String], paths: &mut Vec<Vec<String>>) {
    for (key, value) in definition.as_object().unwrap() {
        let path = [above, std::slice::from_ref(key)].concat();
        if value.get("userName").is_some() { paths.push(path) } else { defined_paths(value, &path, paths) }
    }
}

/// What a field is in force and where it was defined, by the words of the format (page 22 §2.1), from documents that
/// leave out what is unset.
fn expected_of(path: &[String], given: &[(SourceInfo, Value)]) -> (Value, SourceInfo) {
    let name = path.last().unwrap().as_str();
    let global = (SourceInfo::global(), serde_json::to_value(Policy::default_global()).unwrap());
    let all: Vec<&(SourceInfo, Value)> = given.iter().chain([&global]).collect();
    let stop = match name {
        "timeOfDay" => "noParentTimeOfDay",
        "onlyCompress" => "noParentOnlyCompress",
        "neverCompress" => "noParentNeverCompress",
        "beforeFolder" | "afterFolder" => {
            let (target, own) = &given[0];
            let value = value_at(own, path).clone();
            let target = if value.is_null() { SourceInfo::global() } else { target.clone() };
            return (value, target);
        }
        _ => {
            let first = all.iter().find(|(_, policy)| !value_at(policy, path).is_null());
            let unset = (Value::Null, SourceInfo::global());
            return first.map_or(unset, |(target, policy)| (value_at(policy, path).clone(), target.clone()));
        }
    };
    let (mut items, mut definition, mut stopped) = (Vec::new(), SourceInfo::global(), false);
    for (target, policy) in all {
        let own = value_at(policy, path).as_array().cloned().unwrap_or_default();
        if !own.is_empty() && (!stopped || name == "timeOfDay") {
            definition = target.clone();
        }
        if !stopped {
            items.extend(own);
        }
        let flag = [&path[..path.len() - 1], &[stop.to_owned()]].concat();
        stopped |= value_at(policy, &flag) == true;
    }
    items.sort_by_key(|item| (item["hour"].as_i64(), item["min"].as_i64(), item.as_str().map(str::to_owned)));
    items.dedup();
    (if items.is_empty() { Value::Null } else { items.into() }, definition)
}

proptest! {
    #[test]
    fn every_field_comes_from_where_it_says(policies in proptest::collection::vec(arbitrary_policy(), 1..5)) {
        let policies = numbered(policies);
        let merged = merge_all(&policies);
        let effective = serde_json::to_value(&merged.policy).unwrap();
        let definition = serde_json::to_value(&merged.definition).unwrap();
        let given: Vec<_> =
            policies.iter().map(|(target, policy)| (target.clone(), serde_json::to_value(policy).unwrap())).collect();
        let mut paths = Vec::new();
        defined_paths(&definition, &[], &mut paths);
        prop_assert!(paths.len() > 40);
        for path in paths {
            let (value, target) = expected_of(&path, &given);
            prop_assert_eq!(value_at(&effective, &path), &value, "{:?}", path);
            prop_assert_eq!(value_at(&definition, &path), &serde_json::to_value(target).unwrap(), "{:?}", path);
        }
    }

    #[test]
    fn merging_in_pairs_from_either_end_is_the_same(a in arbitrary_policy(), b in arbitrary_policy(), c in arbitrary_policy()) {
        let inherit = |first: &Policy, then: &Policy| {
            let mut merged = Policy::default();
            merged.inherit(first, &SourceInfo::global(), &mut PolicyDefinition::default());
            merged.inherit(then, &SourceInfo::global(), &mut PolicyDefinition::default());
            merged
        };
        prop_assert_eq!(inherit(&inherit(&a, &b), &c), inherit(&a, &inherit(&b, &c)));
    }

    #[test]
    fn an_empty_policy_changes_nothing(policies in proptest::collection::vec(arbitrary_policy(), 1..4), at in 1..4_usize) {
        let mut policies = numbered(policies);
        let without = merge_all(&policies);
        policies.insert(at.min(policies.len()), (target("u@h:/empty"), Policy::default()));
        prop_assert_eq!(merge_all(&policies), without);
    }

    #[test]
    fn nothing_behind_no_parent_counts(mut policies in proptest::collection::vec(arbitrary_policy(), 2..5), at in 0..4_usize) {
        let at = at.min(policies.len() - 1);
        policies[at].no_parent = true;
        let policies = numbered(policies);
        prop_assert_eq!(merge_all(&policies), merge_all(&policies[..=at]));
    }

    #[test]
    fn merging_the_effective_policy_again_changes_nothing(policies in proptest::collection::vec(arbitrary_policy(), 1..4)) {
        let once = merge_all(&numbered(policies)).policy;
        prop_assert_eq!(merge([(&SourceInfo::global(), &once)]).policy, once);
    }
}
