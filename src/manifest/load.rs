//! Loading all manifests of a repository.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::document::{self, Version};
use super::{Labels, Manifest, ManifestError, ManifestId};
use crate::content::id::{ContentId, Prefix};
use crate::content::{ContentError, Reader};

/// Contents fetched at once.
const PARALLEL_FETCHES: usize = 16;
/// How often loading begins anew because contents vanish meanwhile.
const ATTEMPTS: u32 = 5;

/// All manifests there are, at one moment.
#[derive(Clone, Debug, Default)]
pub struct ManifestSet {
    manifests: BTreeMap<ManifestId, Manifest>,
    /// The contents they were read from.
    pub(super) contents: Vec<ContentId>,
    pub(super) tombstones: Vec<Version>,
    pub unreadable: Vec<UnreadableManifests>,
}

/// A content with manifests that cannot be read.
#[derive(Clone, Debug)]
pub struct UnreadableManifests {
    /// None where the index entry is so damaged that it does not tell.
    pub content: Option<ContentId>,
    pub why: String,
}

impl ManifestSet {
    pub async fn load(contents: &Reader) -> Result<Self, ManifestError> {
        for _ in 1..ATTEMPTS {
            let set = Self::load_once(contents).await?;
            if set.unreadable.is_empty() {
                return Ok(set);
            }
            // Manifests may have been compacted since the indexes were loaded.
            contents.refresh().await?;
            if contents.ids_of(Prefix::MANIFEST).await?.0 == set.contents {
                return Ok(set);
            }
        }
        Self::load_once(contents).await
    }

    async fn load_once(contents: &Reader) -> Result<Self, ManifestError> {
        let contents = &contents.for_scan();
        let (ids, unusable) = contents.ids_of(Prefix::MANIFEST).await?;
        let unreadable = unusable.iter().map(|e| UnreadableManifests { content: None, why: e.to_string() }).collect();
        let mut set = Self { contents: ids, unreadable, ..Self::default() };
        let mut latest: BTreeMap<ManifestId, Version> = BTreeMap::new();
        let mut fetches = futures::stream::iter(set.contents.clone())
            .map(|id| async move { (id, contents.get(&id).await) })
            .buffered(PARALLEL_FETCHES);
        while let Some((id, content)) = fetches.next().await {
            let parsed = match content {
                Ok(content) => document::decode(&content),
                Err(ContentError::Fetch { id, source }) => return Err(ContentError::Fetch { id, source }.into()),
                Err(e) => Err(e.to_string()),
            };
            match parsed {
                Ok(versions) => {
                    for version in versions {
                        let known = latest.get(&version.id);
                        if known.is_none_or(|known| version.modified > known.modified) {
                            latest.insert(version.id, version);
                        }
                    }
                }
                Err(why) => set.unreadable.push(UnreadableManifests { content: Some(id), why }),
            }
        }
        set.tombstones = latest.values().filter(|version| version.deleted).cloned().collect();
        set.manifests = latest.into_values().filter_map(alive).map(|m| (m.id, m)).collect();
        Ok(set)
    }

    pub fn get(&self, id: ManifestId) -> Option<&Manifest> {
        self.manifests.get(&id)
    }

    /// The contents they were read from.
    pub fn contents(&self) -> &[ContentId] {
        &self.contents
    }

    /// What says that manifests were deleted, also of those that are nowhere to be seen: they may turn up again with
    /// an index that is missing now.
    pub fn tombstones(&self) -> &[Version] {
        &self.tombstones
    }

    /// All manifests, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// Manifests that have all of these labels, by id.
    pub fn find<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Manifest> {
        self.iter().filter(|manifest| manifest.has(labels))
    }
}

/// What a version stands for, unless it is a tombstone.
fn alive(version: Version) -> Option<Manifest> {
    let (Some(labels), Some(data), false) = (version.labels, version.data, version.deleted) else { return None };
    Some(Manifest { id: version.id, labels, modified: version.modified, data })
}
