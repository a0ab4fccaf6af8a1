//! Sources that are snapshotted only when asked for, and all the others.

use std::path::PathBuf;

use anyhow::bail;
use larder::manifest::ManifestSet;
use larder::policy::{Policy, SourceInfo, effective_policy, store};
use larder::repo::{Identity, Writer};
use larder::snapshot::{labels_of_all, manifest};

use crate::cli::app::App;

/// The source that `--override-source` names.
pub(super) fn parse(app: &App, text: &str, identity: &Identity) -> anyhow::Result<SourceInfo> {
    let source = app.source(text, identity)?;
    if source.host.is_empty() || source.user_name.is_empty() || source.path.is_empty() {
        bail!("--override-source {text:?} must be user@host:path, or a path");
    }
    Ok(source)
}

/// Marks a source as manual, as kopia does for one that cannot be read again by its path.
pub(super) fn mark(writer: &Writer, source: &SourceInfo, policies: &[(SourceInfo, Policy)]) -> anyhow::Result<()> {
    let stored = policies.iter().find(|(target, _)| target == source).map(|(_, policy)| policy.clone());
    let mut policy = stored.unwrap_or_default();
    if policy.scheduling.manual {
        return Ok(());
    }
    policy.scheduling = larder::policy::SchedulingPolicy { manual: true, ..Default::default() };
    store::set(writer, source, &policy)?;
    Ok(())
}

/// All sources of this client that have snapshots and are not manual.
pub(super) fn all_automatic(
    manifests: &ManifestSet,
    policies: &[(SourceInfo, Policy)],
    identity: &Identity,
) -> Vec<(PathBuf, SourceInfo)> {
    let (snapshots, _) = manifest::find(manifests, &labels_of_all());
    let mut sources: Vec<SourceInfo> = snapshots
        .into_iter()
        .map(|snapshot| snapshot.source)
        .filter(|s| s.host == identity.hostname && s.user_name == identity.username)
        .filter(|s| !effective_policy(s, policies).policy.scheduling.manual)
        .collect();
    sources.sort();
    sources.dedup();
    sources.into_iter().map(|source| (PathBuf::from(&source.path), source)).collect()
}
