//! Directory objects: one line of JSON that lists a directory's entries (format page 21 §1).
//!
//! ```json
//! {"stream":"kopia:directory","entries":[…],"summary":{…}}
//! ```
//!
//! Directories come first, then everything else, each by the bytes of the name. An empty directory has
//! `"entries":null`. The encoding is exact, because equal directories must be equal contents, whoever writes them.

use std::collections::HashSet;

use serde::Deserialize;

use super::SnapshotError;
use super::entry::{Entry, Rare};
use super::summary::Summary;
use crate::content::Reader;
use crate::object::{Object, ObjectId};

const STREAM: &str = "kopia:directory";

/// A directory as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// In stored order.
    pub entries: Vec<Entry>,
    pub summary: Option<Summary>,
}

impl Directory {
    pub async fn read(contents: &Reader, id: ObjectId) -> Result<Self, SnapshotError> {
        let bytes = Object::open(contents, id).await?.read(contents).await?;
        Self::parse(&bytes).map_err(|why| SnapshotError::MalformedDirectory { id, why })
    }

    pub fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(default, borrow)]
            stream: std::borrow::Cow<'a, str>,
            entries: Option<Vec<Entry>>,
            summary: Option<Summary>,
        }
        let raw: Raw<'_> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if raw.stream != STREAM {
            return Err(format!("it is a {:?}, not a directory", raw.stream));
        }
        Ok(Self { entries: raw.entries.unwrap_or_default(), summary: raw.summary })
    }

    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        // Of entries that kopia stored under one name, the last counts.
        self.entries.iter().rev().find(|entry| entry.name.as_bytes() == name)
    }
}

/// Sorts entries into the order in which they are stored.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.sort_unstable_by(|a, b| {
        let key = |e: &Entry| !e.kind.is_directory();
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
}

/// Encodes a directory; the entries must be sorted.
pub fn encode(entries: &mut [Entry], summary: &Summary) -> Vec<u8> {
    make_stored_names_unique(entries);
    let mut out = Vec::with_capacity(200 * entries.len() + 300);
    out.extend_from_slice(b"{\"stream\":\"kopia:directory\",\"entries\":");
    if entries.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        let mut separator = b'[';
        for entry in &*entries {
            out.push(separator);
            separator = b',';
            entry.write_json(&mut out);
        }
        out.push(b']');
    }
    out.extend_from_slice(b",\"summary\":");
    summary.write_json(&mut out);
    out.extend_from_slice(b"}\n");
    out
}

/// Names that are not UTF-8 may become equal to others when they are stored: such ones get `~2`, `~3` … at the end.
fn make_stored_names_unique(entries: &mut [Entry]) {
    if entries.iter().all(|entry| entry.name.is_utf8()) {
        return;
    }
    let mut taken: HashSet<String> =
        entries.iter().filter(|entry| entry.name.is_utf8()).map(|entry| entry.name.to_lossy().into_owned()).collect();
    for entry in entries.iter_mut().filter(|entry| !entry.name.is_utf8()) {
        let lossy = entry.name.to_lossy().into_owned();
        let mut stored = lossy.clone();
        let mut number = 1;
        while !taken.insert(stored.clone()) {
            number += 1;
            stored = format!("{lossy}~{number}");
        }
        // Without a number the name itself gives the stored form, with Go's escapes for the bad bytes.
        let stored_name = (number > 1).then_some(stored);
        match &mut entry.rare {
            Some(rare) => rare.stored_name = stored_name,
            None => entry.rare = stored_name.map(|name| Box::new(Rare { stored_name: Some(name), ..Rare::default() })),
        }
    }
}

#[cfg(test)]
mod tests;
