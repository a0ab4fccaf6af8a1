//! What makes two sights of a node the same node: the names that lead to it, or the file that several names share.
//!
//! Backup programs, NFS and `find` know files by their inode numbers and expect them to stay. A counter would give
//! other numbers after a remount, so the number is taken from a hash of the identity.

/// The 16 bytes that stand for one node of a tree, in this mount and every later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity([u8; 16]);

/// Keeps the identities of children, and of shared files, apart: BLAKE3's contexts for deriving keys.
const CHILD: &str = "larder 2026-11-21 mount: child of a directory";
const SHARED: &str = "larder 2026-11-21 mount: file with several names";

impl Identity {
    /// Of the root of a tree that is known by this name.
    pub fn root(name: &[u8]) -> Self {
        Self([0; 16]).child(name)
    }

    /// Of the entry of this name in the directory that `self` stands for.
    pub fn child(self, name: &[u8]) -> Self {
        self.derive(CHILD, name)
    }

    /// Of a file that has several names in the tree whose root `self` stands for, by the tree's own mark for it.
    pub fn shared(self, mark: &[u8]) -> Self {
        self.derive(SHARED, mark)
    }

    /// The inode number to be tried at the `attempt`th try, from 0: only when two nodes want one number is there a
    /// second.
    pub(crate) fn number(self, attempt: u64) -> u64 {
        let wide = u128::from_le_bytes(self.0);
        let (low, high) = (wide as u64, (wide >> 64) as u64);
        low.wrapping_add(attempt.wrapping_mul(high | 1))
    }

    fn derive(self, context: &str, name: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        hasher.update(name);
        let mut derived = [0; 16];
        hasher.finalize_xof().fill(&mut derived);
        Self(derived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_every_name_on_the_path() {
        let root = Identity::root(b"all");
        let different = [
            root,
            Identity::root(b"al"),
            root.child(b"a"),
            root.child(b"b"),
            root.child(b"a").child(b"b"),
            root.child(b"ab"),
            root.shared(b"a"),
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(different.iter().skip(at + 1).all(|other| one != other), "{at}");
        }
    }

    /// Numbers may be kept by others, an NFS client for one: they may not change with a new version.
    #[test]
    fn stays_what_it_is() {
        let file = Identity::root(b"all").child(b"usr@hst").child(b"file");
        assert_eq!(format!("{:016x}", file.number(0)), "56491e487177ec48");
    }
}
