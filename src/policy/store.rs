//! Policies in a repository: manifests of type `policy`, whose labels name the target (format page 22 §1).

use super::{Policy, SourceInfo};
use crate::manifest::{Manifest, ManifestError, ManifestId, ManifestSet, TYPE_LABEL};
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

/// Stores a policy in the place of any other of the same target.
pub fn set(writer: &Writer, target: &SourceInfo, policy: &Policy) -> Result<ManifestId, RepositoryError> {
    let labels = target.policy_labels().map_err(|e| RepositoryError::Internal(Box::new(e)))?;
    writer.replace_manifest(labels, policy)
}
