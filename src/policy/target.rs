//! Who and what a policy or a snapshot is about: user, host and path.
//!
//! Format pages 21 §4 (source identity) and 22 §1, §2.1 (targets of policies). A snapshot is always of a path; a policy can also
//! be about all paths of a user, all users of a host, or everything. All four are a [`SourceInfo`] with some parts left empty, and
//! the most specific part that is set decides the [`Level`].
//!
//! Paths are compared as text. Everything that produces one cleans it first, so that a directory has a single spelling; a path
//! after `user@host:` is taken as given, because it may be of another machine.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::PolicyError;

const TYPE: &str = "type";
const POLICY: &str = "policy";
const POLICY_TYPE: &str = "policyType";
const HOSTNAME: &str = "hostname";
const USERNAME: &str = "username";
const PATH: &str = "path";
const GLOBAL: &str = "(global)";

/// A source of snapshots, or the target of a policy: `user@host:path`, any suffix of which may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceInfo {
    /// Name of the machine.
    pub host: String,
    /// Name of the user on it.
    pub user_name: String,
    /// Absolute path there.
    pub path: String,
}

/// How much a policy's target covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Every source of the repository.
    Global,
    /// Every source of a machine.
    Host,
    /// Every source of a user on a machine.
    User,
    /// A path and what is below it.
    Path,
}

impl Level {
    /// The value of the label `policyType`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Global => "global",
            Level::Host => "host",
            Level::User => "user",
            Level::Path => "path",
        }
    }
}

impl SourceInfo {
    /// The target of the policy that every source inherits.
    pub fn global() -> Self {
        Self::default()
    }

    /// Reads a source as the command line takes it: `(global)`, `@host`, `user@host`, `user@host:path`, or a local path, which is
    /// made absolute from `current_directory` and gets the default user and host.
    pub fn parse(
        text: &str,
        default_host: &str,
        default_user: &str,
        current_directory: &str,
    ) -> Result<Self, PolicyError> {
        if text == GLOBAL {
            return Ok(Self::global());
        }
        if let Some((user, rest)) = text.split_once('@') {
            if let Some((host, path)) = rest.split_once(':')
                && !user.is_empty()
                && !user.contains(':')
            {
                return Ok(Self { host: host.into(), user_name: user.into(), path: path.into() });
            }
            if !text.contains(':') {
                if rest.is_empty() {
                    return Err(PolicyError::InvalidSource(text.into()));
                }
                return Ok(Self { host: rest.into(), user_name: user.into(), path: String::new() });
            }
        }
        let path = if text.starts_with('/') { clean(text) } else { clean(&format!("{current_directory}/{text}")) };
        Ok(Self { host: default_host.into(), user_name: default_user.into(), path })
    }

    /// How much this target covers.
    pub fn level(&self) -> Level {
        if !self.path.is_empty() {
            Level::Path
        } else if !self.user_name.is_empty() {
            Level::User
        } else if !self.host.is_empty() {
            Level::Host
        } else {
            Level::Global
        }
    }

    /// Whether a source is this one, or one of this user, of this machine, or of all.
    pub fn includes(&self, source: &SourceInfo) -> bool {
        let same_host = self.host == source.host;
        match self.level() {
            Level::Global => true,
            Level::Host => same_host,
            Level::User => same_host && self.user_name == source.user_name,
            Level::Path => self == source,
        }
    }

    /// The targets whose policies this one inherits, most specific first.
    pub fn parents(&self) -> Vec<SourceInfo> {
        let mut parents = Vec::new();
        let mut path = self.path.as_str();
        while let Some(parent) = parent_path(path) {
            parents.push(Self { path: parent.into(), ..self.clone() });
            path = parent;
        }
        let user = Self { path: String::new(), ..self.clone() };
        let host = Self { user_name: String::new(), ..user.clone() };
        for wider in [user, host, Self::global()] {
            if wider != *self && parents.last() != Some(&wider) {
                parents.push(wider);
            }
        }
        parents
    }

    /// The labels of the manifest that holds this target's policy.
    pub fn policy_labels(&self) -> Result<BTreeMap<String, String>, PolicyError> {
        if self.path.ends_with(['/', '\\']) && !is_root(&self.path) {
            return Err(PolicyError::TrailingSeparator(self.path.clone()));
        }
        let level = self.level();
        let mut labels = vec![(TYPE, POLICY), (POLICY_TYPE, level.name())];
        for (label, value) in self.parts(level) {
            labels.push((label, value));
        }
        Ok(labels.into_iter().map(|(label, value)| (label.into(), value.into())).collect())
    }

    /// The target that the labels of a policy manifest name.
    pub fn from_policy_labels(labels: &BTreeMap<String, String>) -> Result<Self, PolicyError> {
        let value = |label: &'static str| match labels.get(label) {
            Some(value) => Ok(value.clone()),
            None => Err(PolicyError::InvalidLabels { label, found: "missing".into() }),
        };
        let unexpected = |label, value: String| PolicyError::InvalidLabels { label, found: format!("{value:?}") };
        let manifest_type = value(TYPE)?;
        if manifest_type != POLICY {
            return Err(unexpected(TYPE, manifest_type));
        }
        let policy_type = value(POLICY_TYPE)?;
        match policy_type.as_str() {
            "global" => Ok(Self::global()),
            "host" => Ok(Self { host: value(HOSTNAME)?, ..Self::default() }),
            "user" => Ok(Self { host: value(HOSTNAME)?, user_name: value(USERNAME)?, path: String::new() }),
            "path" => Ok(Self { host: value(HOSTNAME)?, user_name: value(USERNAME)?, path: value(PATH)? }),
            _ => Err(unexpected(POLICY_TYPE, policy_type)),
        }
    }

    fn parts(&self, level: Level) -> Vec<(&'static str, &str)> {
        let host = (HOSTNAME, self.host.as_str());
        let user = (USERNAME, self.user_name.as_str());
        match level {
            Level::Global => vec![],
            Level::Host => vec![host],
            Level::User => vec![host, user],
            Level::Path => vec![host, user, (PATH, self.path.as_str())],
        }
    }

    fn text(&self) -> [&str; 5] {
        let Self { host, user_name, path } = self;
        match self.level() {
            Level::Global => [GLOBAL, "", "", "", ""],
            Level::Path => [user_name, "@", host, ":", path],
            Level::User | Level::Host => [user_name, "@", host, "", ""],
        }
    }
}

impl fmt::Display for SourceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().iter().try_for_each(|part| f.write_str(part))
    }
}

impl Ord for SourceInfo {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Two sources can read alike ("a@b" at "c", "a" at "b@c") and must not compare as equal.
        let by_field = || (&self.host, &self.user_name).cmp(&(&other.host, &other.user_name));
        self.text().concat().cmp(&other.text().concat()).then_with(by_field)
    }
}

impl PartialOrd for SourceInfo {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The components that lead from the directory `base` to `path`, or nothing unless `path` is strictly below it.
pub(super) fn components_below<'a>(base: &str, path: &'a str) -> Option<Vec<&'a str>> {
    // A backslash is an ordinary character of a file name, except where paths start with a volume.
    let separators: &[char] = if volume(base).is_some() { &['/', '\\'] } else { &['/'] };
    let rest = path.strip_prefix(base)?;
    let rest = if base.ends_with(separators) { rest } else { rest.strip_prefix(separators)? };
    let components: Vec<_> = rest.split(separators).filter(|component| !component.is_empty()).collect();
    (!components.is_empty()).then_some(components)
}

/// The length of `X:` at the start of a Windows path.
fn volume(path: &str) -> Option<usize> {
    match path.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => Some(2),
        _ => None,
    }
}

fn is_root(path: &str) -> bool {
    matches!(path.get(volume(path).unwrap_or(0)..), Some("/" | "\\"))
}

fn parent_path(path: &str) -> Option<&str> {
    if is_root(path) {
        return None;
    }
    let separator = path.rfind(['/', '\\'])?;
    let parent = path[..separator].trim_end_matches(['/', '\\']);
    // What is left of `/a` or `X:\a` is a root, which keeps its separator.
    if parent.len() == volume(path).unwrap_or(0) { path.get(..=parent.len()) } else { Some(parent) }
}

fn clean(path: &str) -> String {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

#[cfg(test)]
mod tests;
