//! Whether and how one file is compressed.
//!
//! Format page 22 §3.3. By size first, then by extension; a file of an extension in neither list is compressed, so `onlyCompress`
//! excludes nothing: it only wins over `neverCompress`. kopia searches the lists as sorted; all that `policy set` and merging write
//! is, and a list sorted otherwise by hand is taken here as meant.

use super::Policy;

impl Policy {
    /// Name of the compressor for the data of a file of this name and size, if any.
    pub fn compressor_for(&self, name: &[u8], size: u64) -> Option<&str> {
        let compressor = self.compressor()?;
        let compression = &self.compression;
        let limit = |size: i64| u64::try_from(size).ok().filter(|limit| *limit > 0);
        if limit(compression.min_size).is_some_and(|least| size < least)
            || limit(compression.max_size).is_some_and(|most| size > most)
        {
            return None;
        }
        let extension = extension(name);
        let listed = |extensions: &[String]| extensions.iter().any(|listed| listed.as_bytes() == extension);
        (listed(&compression.only_compress) || !listed(&compression.never_compress)).then_some(compressor)
    }
}

/// What follows the last dot, with the dot; empty if there is none.
fn extension(name: &[u8]) -> &[u8] {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    dot.and_then(|dot| name.get(dot..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::CompressionPolicy;
    use super::*;

    fn policy(compression: CompressionPolicy) -> Policy {
        Policy { compression, ..Policy::default() }
    }

    fn zstd() -> CompressionPolicy {
        CompressionPolicy { compressor_name: "zstd".into(), ..Default::default() }
    }

    #[test]
    fn no_compressor_compresses_nothing() {
        for name in ["", "none"] {
            let policy =
                policy(CompressionPolicy { compressor_name: name.into(), only_compress: vec![".a".into()], ..zstd() });
            assert_eq!(policy.compressor_for(b"x.a", 5), None);
        }
    }

    #[test]
    fn size_decides_first() {
        let policy = policy(CompressionPolicy { min_size: 5, max_size: 9, only_compress: vec![".a".into()], ..zstd() });
        let sizes: Vec<u64> = (0..12).filter(|size| policy.compressor_for(b"x.a", *size).is_some()).collect();
        assert_eq!(sizes, [5, 6, 7, 8, 9]);
    }

    #[test]
    fn only_compress_wins_over_never_compress_and_excludes_nothing() {
        let policy = policy(CompressionPolicy {
            only_compress: vec![".txt".into()],
            never_compress: vec![".jpg".into(), ".txt".into()],
            ..zstd()
        });
        let compressed = |name: &[u8]| policy.compressor_for(name, 1).is_some();
        assert!(compressed(b"a.txt"));
        assert!(!compressed(b"a.jpg"));
        assert!(compressed(b"a.JPG"));
        assert!(compressed(b"a.o"));
        assert!(compressed(b"jpg"));
        assert!(!compressed(b"\xff.tar.jpg"));
        assert!(!compressed(b".jpg"));
    }
}
