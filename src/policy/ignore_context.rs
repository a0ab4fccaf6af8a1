//! Which entries of a directory a snapshot leaves out.
//!
//! Format page 22 §3.1. Walking a source, each directory gets an [`IgnoreContext`]: that of the directory above, unless a policy is
//! defined for it or it holds files with ignore rules. Reading those files is the caller's: it asks for the
//! [names](IgnoreContext::dot_file_names) to look for and gives what it found to [`IgnoreContext::for_directory`].
//!
//! Rules of directories above always apply too, before the directory's own; kopia's `noParentIgnore` does not change that. The last
//! rule that says something else than was decided so far wins. A directory that is left out is not walked, so nothing in it can be
//! taken back by `!`.
//!
//! Without rules, which is usual, an entry costs nothing.

use std::sync::Arc;

use super::ignore::{Pattern, characters};
use super::{Policy, PolicyError, PolicyTree};

/// What decides about the entries of a directory.
#[derive(Debug, Default)]
pub struct IgnoreContext {
    /// From the snapshot's root down; only directories that have rules.
    rule_sets: Vec<Arc<RuleSet>>,
    dot_file_names: Vec<String>,
    max_file_size: Option<u64>,
    one_file_system: bool,
}

#[derive(Debug)]
struct RuleSet {
    /// Characters in front of the part of a path that these rules see.
    base_length: usize,
    patterns: Vec<Pattern>,
}

impl IgnoreContext {
    /// Names of the files with ignore rules to look for in a directory, in the order in which they count.
    pub fn dot_file_names<'a>(parent: Option<&'a Arc<Self>>, policy: &'a PolicyTree) -> &'a [String] {
        if policy.is_defined() {
            return &policy.policy().files.ignore_dot_files;
        }
        parent.map_or(&[], |parent| &parent.dot_file_names)
    }

    /// The context of a directory, given by its path from the snapshot's root (empty for the root itself), and the files with ignore
    /// rules that it holds, by name and contents.
    pub fn for_directory(
        parent: Option<&Arc<Self>>,
        directory: &[u8],
        policy: &PolicyTree,
        dot_files: &[(&str, Vec<u8>)],
    ) -> Result<Arc<Self>, PolicyError> {
        if let Some(parent) = parent
            && dot_files.is_empty()
            && !policy.is_defined()
        {
            return Ok(Arc::clone(parent));
        }
        let mut context = parent.map(|parent| parent.inherited()).unwrap_or_default();
        let mut patterns = Vec::new();
        let place = format!("/{}", String::from_utf8_lossy(directory));
        if policy.is_defined() {
            context.apply(policy.policy());
            let origin = format!("the policy of {place}");
            for (line, text) in (1..).zip(&policy.policy().files.ignore) {
                patterns.extend(parse(text, &origin, line)?);
            }
        }
        for (name, contents) in dot_files {
            let origin = format!("{}/{name}", place.trim_end_matches('/'));
            for (line, bytes) in (1..).zip(contents.split(|byte| *byte == b'\n')) {
                let text: String = characters(bytes.strip_suffix(b"\r").unwrap_or(bytes)).collect();
                if !text.starts_with('#') {
                    patterns.extend(parse(&text, &origin, line)?);
                }
            }
        }
        if !patterns.is_empty() {
            let base_length = if directory.is_empty() { 0 } else { 1 + characters(directory).count() };
            context.rule_sets.push(Arc::new(RuleSet { base_length, patterns }));
        }
        Ok(Arc::new(context))
    }

    /// Whether the rules leave out an entry of the context's directory, which is given by its path from the snapshot's root, or of
    /// one below that shares the context.
    pub fn ignores(&self, directory: &[u8], name: &[u8], is_directory: bool) -> bool {
        if self.rule_sets.is_empty() {
            return false;
        }
        let mut path = vec!['/'];
        if !directory.is_empty() {
            path.extend(characters(directory));
            path.push('/');
        }
        path.extend(characters(name));
        let mut ignored = false;
        for rule_set in &self.rule_sets {
            let path = path.get(rule_set.base_length..).unwrap_or_default();
            for pattern in &rule_set.patterns {
                if pattern.negated == ignored {
                    ignored = pattern.matches(path, is_directory) != pattern.negated;
                }
            }
        }
        ignored
    }

    /// The most bytes that a file may have without being left out.
    pub fn max_file_size(&self) -> Option<u64> {
        self.max_file_size
    }

    /// Whether entries on another file system than the directory are left out.
    pub fn one_file_system(&self) -> bool {
        self.one_file_system
    }

    fn inherited(&self) -> Self {
        Self { rule_sets: self.rule_sets.clone(), dot_file_names: self.dot_file_names.clone(), ..*self }
    }

    fn apply(&mut self, policy: &Policy) {
        if policy.files.no_parent_dot_files {
            self.dot_file_names.clear();
        }
        for name in &policy.files.ignore_dot_files {
            if !self.dot_file_names.contains(name) {
                self.dot_file_names.push(name.clone());
            }
        }
        if policy.files.max_file_size != 0 {
            self.max_file_size = policy.max_file_size();
        }
        self.one_file_system = policy.one_file_system();
    }
}

fn parse(text: &str, file: &str, line: usize) -> Result<Option<Pattern>, PolicyError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let pattern = Pattern::parse(text).map_err(|problem| PolicyError::InvalidPattern {
        pattern: text.into(),
        file: file.into(),
        line,
        problem,
    })?;
    Ok(Some(pattern))
}

#[cfg(test)]
mod tests;
