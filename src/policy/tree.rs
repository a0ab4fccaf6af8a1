//! Which policy applies to each entry of one source.
//!
//! Format page 22 §2.2. The root has the merged policy of the source. A path below that has a policy of its own has that policy as
//! it is stored, *not* merged with those above it, and all below it have the same until the next. Most directories have no policy
//! of their own: a [`PolicyTree`] stands for one entry, shares everything, and going to a child allocates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::target::components_below;
use super::{Policy, SourceInfo, effective_policy};

/// The policies of a source, seen from one of its entries.
#[derive(Debug, Clone)]
pub struct PolicyTree {
    nodes: Arc<[Node]>,
    /// The entry's node, or that of the nearest entry above that has one.
    nearest: usize,
    has_node: bool,
}

#[derive(Debug)]
struct Node {
    policy: Arc<Policy>,
    defined: bool,
    children: HashMap<Box<[u8]>, usize>,
}

impl PolicyTree {
    /// The policies of a source, of all those stored. Of several for one target the newest come first.
    pub fn for_source(source: &SourceInfo, stored: &[(SourceInfo, Policy)]) -> Self {
        let root = Arc::new(effective_policy(source, stored).policy);
        let mut nodes = vec![Node { policy: root, defined: true, children: HashMap::new() }];
        let same_user = |target: &SourceInfo| target.host == source.host && target.user_name == source.user_name;
        let mut below: Vec<_> = stored
            .iter()
            .filter(|(target, _)| same_user(target))
            .filter_map(|(target, policy)| Some((components_below(&source.path, &target.path)?, policy)))
            .collect();
        // Directories before what is below them. The sort is stable: the newest policy of a path stays first.
        below.sort_by(|(a, _), (b, _)| a.cmp(b));
        below.dedup_by(|(later, _), (kept, _)| later == kept);
        for (components, policy) in below {
            let mut at = 0;
            for component in components {
                at = child_or_insert(&mut nodes, at, component);
            }
            nodes[at].policy = Arc::new(policy.clone());
            nodes[at].defined = true;
        }
        Self { nodes: nodes.into(), nearest: 0, has_node: true }
    }

    /// The entry of this name in this directory.
    pub fn child(&self, name: &[u8]) -> Self {
        let child = if self.has_node { self.node().children.get(name).copied() } else { None };
        Self { nodes: Arc::clone(&self.nodes), nearest: child.unwrap_or(self.nearest), has_node: child.is_some() }
    }

    /// The policy that applies.
    pub fn policy(&self) -> &Policy {
        &self.node().policy
    }

    /// All policies that apply somewhere in the source.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.nodes.iter().map(|node| &*node.policy)
    }

    /// Whether that policy is this entry's own, not that of an entry above.
    pub fn is_defined(&self) -> bool {
        self.has_node && self.node().defined
    }

    fn node(&self) -> &Node {
        &self.nodes[self.nearest]
    }
}

fn child_or_insert(nodes: &mut Vec<Node>, parent: usize, name: &str) -> usize {
    if let Some(child) = nodes[parent].children.get(name.as_bytes()) {
        return *child;
    }
    let child = nodes.len();
    let policy = Arc::clone(&nodes[parent].policy);
    nodes[parent].children.insert(name.as_bytes().into(), child);
    nodes.push(Node { policy, defined: false, children: HashMap::new() });
    child
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> SourceInfo {
        SourceInfo::parse(text, "h", "u", "/").unwrap()
    }

    fn named(compressor: &str) -> Policy {
        let mut policy = Policy::default();
        policy.compression.compressor_name = compressor.into();
        policy
    }

    fn at(tree: &PolicyTree, path: &str) -> PolicyTree {
        path.split('/').fold(tree.clone(), |directory, name| directory.child(name.as_bytes()))
    }

    fn seen(tree: &PolicyTree) -> (Option<&str>, bool) {
        (tree.policy().compressor(), tree.is_defined())
    }

    #[test]
    fn root_is_merged_and_paths_below_are_raw() {
        let stored = vec![
            (target("u@h:/s/a/b"), named("gzip")),
            (target("u@h:/s/a/b/c/d"), named("")),
            (target("u@h:/"), named("zstd")),
            (target("u@other:/s/x"), named("pgzip")),
            (target("u@h:/sibling"), named("pgzip")),
        ];
        let tree = PolicyTree::for_source(&target("u@h:/s"), &stored);
        assert_eq!(seen(&tree), (Some("zstd"), true));
        assert_eq!(tree.policy().metadata_compressor(), Some("zstd-fastest"));
        assert_eq!(seen(&at(&tree, "x")), (Some("zstd"), false));
        assert_eq!(seen(&at(&tree, "a")), (Some("zstd"), false));
        assert_eq!(seen(&at(&tree, "a/z")), (Some("zstd"), false));
        assert_eq!(seen(&at(&tree, "a/b")), (Some("gzip"), true));
        assert_eq!(at(&tree, "a/b").policy().metadata_compressor(), None);
        assert_eq!(seen(&at(&tree, "a/b/c")), (Some("gzip"), false));
        assert_eq!(seen(&at(&tree, "a/b/c/d")), (None, true));
        assert_eq!(seen(&at(&tree, "a/b/c/d/e")), (None, false));
        assert_eq!(seen(&at(&tree, "a/b/c/other/a/b")), (Some("gzip"), false));
    }

    #[test]
    fn names_below_an_entry_without_policy_are_not_taken_for_those_of_the_one_above() {
        let tree = PolicyTree::for_source(&target("u@h:/"), &[(target("u@h:/a"), named("gzip"))]);
        assert_eq!(seen(&at(&tree, "a")), (Some("gzip"), true));
        assert_eq!(seen(&at(&tree, "x/a")), (None, false));
    }

    #[test]
    fn newest_policy_of_a_path_counts() {
        let stored = vec![(target("u@h:/s/a"), named("gzip")), (target("u@h:/s/a"), named("zstd"))];
        let tree = PolicyTree::for_source(&target("u@h:/s"), &stored);
        assert_eq!(seen(&at(&tree, "a")), (Some("gzip"), true));
    }
}
