//! The nodes that the kernel knows, by number.
//!
//! The kernel counts how often it was told of a node and gives the counts back when it forgets it; until then the
//! number must answer. So a node stays in the table exactly as long as the kernel may ask for it, and the table is
//! as large as the kernel's own cache of inodes, not as the tree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use crate::Identity;

/// The number of the root, by FUSE's rules. It is never forgotten.
pub const ROOT: u64 = 1;

/// Nodes of the type `N` by inode number. Shared by all threads that answer the kernel.
pub struct Inodes<N> {
    held: Mutex<HashMap<u64, Held<N>>>,
}

struct Held<N> {
    identity: Identity,
    node: N,
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
}

impl<N: Clone> Inodes<N> {
    /// A table that holds the root alone.
    pub fn new(identity: Identity, root: N) -> Self {
        let root = Held { identity, node: root, lookups: 1 };
        Self { held: Mutex::new(HashMap::from([(ROOT, root)])) }
    }

    /// The number under which the kernel is told of a node, which counts as one lookup. A node that is known keeps
    /// its number and is replaced by `node`, which is fresher.
    pub fn tell(&self, identity: Identity, node: N) -> u64 {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&ROOT).is_some_and(|root| root.identity == identity) {
            return ROOT;
        }
        let mut attempt = 0;
        loop {
            let number = identity.number(attempt);
            attempt += 1;
            if number <= ROOT {
                continue;
            }
            match held.entry(number) {
                Entry::Vacant(free) => {
                    free.insert(Held { identity, node, lookups: 1 });
                    return number;
                }
                Entry::Occupied(mut known) if known.get().identity == identity => {
                    let known = known.get_mut();
                    known.node = node;
                    known.lookups += 1;
                    return number;
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    /// The number that a node has or would have, without the kernel being told of it.
    pub fn number(&self, identity: Identity) -> u64 {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&ROOT).is_some_and(|root| root.identity == identity) {
            return ROOT;
        }
        let mut attempt = 0;
        loop {
            let number = identity.number(attempt);
            attempt += 1;
            if number > ROOT && held.get(&number).is_none_or(|known| known.identity == identity) {
                return number;
            }
        }
    }

    /// A node that was looked at again; nothing happens when the kernel forgot it meanwhile.
    pub fn refresh(&self, number: u64, node: N) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.get_mut(&number) {
            known.node = node;
        }
    }

    /// The node of a number, or nothing when the kernel was not told of it, or forgot it.
    pub fn get(&self, number: u64) -> Option<N> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&number).map(|held| held.node.clone())
    }

    /// The kernel forgets as many lookups of a node; with the last one the node goes.
    pub fn forget(&self, number: u64, lookups: u64) {
        if number == ROOT {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut known) = held.entry(number) {
            known.get_mut().lookups = known.get().lookups.saturating_sub(lookups);
            if known.get().lookups == 0 {
                known.remove();
            }
        }
    }

    /// How many nodes the kernel knows, with the root.
    pub fn count(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Identity, Inodes<&'static str>) {
        let root = Identity::root(b"test");
        (root, Inodes::new(root, "root"))
    }

    #[test]
    fn a_node_has_one_number_until_it_is_forgotten() {
        let (root, inodes) = table();
        let number = inodes.tell(root.child(b"a"), "a");
        assert_eq!(inodes.tell(root.child(b"a"), "a again"), number);
        assert_ne!(inodes.tell(root.child(b"b"), "b"), number);
        assert_eq!(inodes.get(number), Some("a again"));

        inodes.forget(number, 1);
        assert_eq!(inodes.get(number), Some("a again"), "told twice, forgotten once");
        inodes.forget(number, 1);
        assert_eq!(inodes.get(number), None);
        assert_eq!(inodes.count(), 2);
        assert_eq!(inodes.tell(root.child(b"a"), "a"), number, "the same number again");
    }

    #[test]
    fn a_remount_gives_the_same_numbers_in_any_order() {
        let (root, first) = table();
        let (_, second) = table();
        let names: Vec<_> = (0..1000_u32).map(u32::to_le_bytes).collect();
        let numbers: Vec<_> = names.iter().map(|name| first.tell(root.child(name), "")).collect();
        for (name, number) in names.iter().zip(&numbers).rev() {
            assert_eq!(second.tell(root.child(name), ""), *number);
        }
    }

    #[test]
    fn the_root_stays() {
        let (root, inodes) = table();
        assert_eq!(inodes.tell(root, "root"), ROOT);
        inodes.forget(ROOT, 100);
        assert_eq!(inodes.get(ROOT), Some("root"));
    }

    #[test]
    fn two_nodes_that_want_one_number_get_two() {
        let (root, inodes) = table();
        let (one, other) = (root.child(b"one"), root.child(b"other"));
        let wanted = other.number(0);
        let squatter = Held { identity: one, node: "one", lookups: 1 };
        inodes.held.lock().unwrap().insert(wanted, squatter);
        let number = inodes.tell(other, "other");
        assert_eq!(number, other.number(1));
        assert_eq!((inodes.get(wanted), inodes.get(number)), (Some("one"), Some("other")));
        assert_eq!(inodes.number(other), number);
    }

    #[test]
    fn a_number_is_given_without_a_lookup() {
        let (root, inodes) = table();
        let number = inodes.number(root.child(b"a"));
        assert_eq!((inodes.get(number), inodes.number(root)), (None, ROOT));
        inodes.refresh(number, "not known");
        assert_eq!(inodes.count(), 1);
        assert_eq!(inodes.tell(root.child(b"a"), "a"), number);
        inodes.refresh(number, "looked at again");
        inodes.forget(number, 1);
        assert_eq!(inodes.get(number), None, "neither counted as a lookup");
    }

    #[test]
    fn more_is_forgotten_than_was_told() {
        let (root, inodes) = table();
        let number = inodes.tell(root.child(b"a"), "a");
        inodes.forget(number, 7);
        inodes.forget(number, 7);
        inodes.forget(12345, 1);
        assert_eq!(inodes.count(), 1);
    }
}
