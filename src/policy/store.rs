//! Policies in a repository: manifests of type `policy`, whose labels name the target (format page 22 §1).

use serde_json::Value;

use super::{Policy, SourceInfo};
use crate::manifest::{Labels, Manifest, ManifestError, ManifestId, ManifestSet, TYPE_LABEL};
use crate::repo::{RepositoryError, Writer};

/// Value of the label `type`.
pub const KIND: &str = "policy";

/// A policy as it is stored.
#[derive(Clone, Debug)]
pub struct StoredPolicy {
    pub id: ManifestId,
    pub target: SourceInfo,
    pub policy: Policy,
}

/// All policies of a repository, the newest first, and what is wrong with those that cannot be understood.
pub fn load(manifests: &ManifestSet) -> (Vec<StoredPolicy>, Vec<ManifestError>) {
    let kind = [(TYPE_LABEL.to_owned(), KIND.to_owned())].into();
    let mut found: Vec<&Manifest> = manifests.find(&kind).collect();
    found.sort_by_key(|manifest| std::cmp::Reverse((manifest.modified, manifest.id)));
    let (mut policies, mut errors) = (Vec::new(), Vec::new());
    for manifest in found {
        match (SourceInfo::from_policy_labels(&manifest.labels), manifest.parse()) {
            (Ok(target), Ok(policy)) => policies.push(StoredPolicy { id: manifest.id, target, policy }),
            (_, Err(e)) => errors.push(e),
            (Err(e), _) => errors.push(ManifestError::Internal(Box::new(e))),
        }
    }
    (policies, errors)
}

/// What merging needs of stored policies.
pub fn by_target(policies: &[StoredPolicy]) -> Vec<(SourceInfo, Policy)> {
    policies.iter().map(|stored| (stored.target.clone(), stored.policy.clone())).collect()
}

/// Stores a policy in the place of any other of the same target. What a newer program stored in that one, and is not
/// known here, is kept.
pub fn set(writer: &Writer, target: &SourceInfo, policy: &Policy) -> Result<ManifestId, RepositoryError> {
    let labels = labels(target)?;
    let same = writer.manifests().iter().filter(|manifest| manifest.labels == labels);
    match same.max_by_key(|manifest| (manifest.modified, manifest.id)) {
        Some(before) => writer.replace_manifest(labels, &with_unknown_of(before, policy)?),
        None => writer.put_manifest(labels, policy),
    }
}

/// Deletes the policy of a target; says whether there was one.
pub fn delete(writer: &Writer, target: &SourceInfo) -> Result<bool, RepositoryError> {
    let labels = labels(target)?;
    let mut found = false;
    for manifest in writer.manifests().iter().filter(|manifest| manifest.labels == labels) {
        writer.delete_manifest(manifest);
        found = true;
    }
    Ok(found)
}

fn labels(target: &SourceInfo) -> Result<Labels, RepositoryError> {
    target.policy_labels().map_err(|e| RepositoryError::Internal(Box::new(e)))
}

/// A policy, and the members of the one before it that are not known here.
fn with_unknown_of(before: &Manifest, policy: &Policy) -> Result<Value, ManifestError> {
    let internal = |e: serde_json::Error| ManifestError::Internal(Box::new(e));
    let stored: Value = before.parse()?;
    let known = serde_json::to_value(before.parse::<Policy>()?).map_err(internal)?;
    let mut all = serde_json::to_value(policy).map_err(internal)?;
    keep_unknown(&stored, &known, &mut all);
    Ok(all)
}

/// Puts those members of `stored` into `all` that are not in `known`, which is what was understood of it.
fn keep_unknown(stored: &Value, known: &Value, all: &mut Value) {
    let (Value::Object(stored), Value::Object(known), Value::Object(all)) = (stored, known, all) else { return };
    for (key, value) in stored {
        match (known.get(key), all.get_mut(key)) {
            (Some(known), Some(all)) => keep_unknown(value, known, all),
            (None, None) => _ = all.insert(key.clone(), value.clone()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_are_kept() {
        let stored = r#"{"retention":{"keepLatest":5,"keepDecades":2},"files":{"maxFileSize":7},"sparkle":[1]}"#;
        let before = Manifest {
            id: "00".repeat(16).parse().unwrap(),
            labels: Labels::new(),
            modified: jiff::Timestamp::UNIX_EPOCH,
            data: serde_json::from_str(stored).unwrap(),
        };
        let mut policy: Policy = before.parse().unwrap();
        policy.retention.keep_latest = None;
        policy.files.max_file_size = 0;
        policy.retention.keep_daily = Some(1);
        let all = with_unknown_of(&before, &policy).unwrap();
        assert_eq!(all["retention"].to_string(), r#"{"keepDaily":1,"keepDecades":2}"#);
        assert_eq!((all["files"].to_string(), all["sparkle"].to_string()), ("{}".into(), "[1]".into()));
    }
}
