//! The value in force where a setting is used.
//!
//! Format page 22 §2.2. Below a path that has its own policy that policy stands alone, unmerged, so most of its settings are unset;
//! and so are all of a policy that inherits nothing. What is unset then has the meaning given here, which is not always the
//! built-in default of a merged policy.

use super::Policy;

const NO_COMPRESSION: &str = "none";

impl Policy {
    /// Name of the compressor of file data, if any; [`Policy::compressor_for`] decides for one file.
    pub fn compressor(&self) -> Option<&str> {
        compressor(&self.compression.compressor_name)
    }

    /// Name of the compressor of directories and of objects' indexes, if any.
    pub fn metadata_compressor(&self) -> Option<&str> {
        compressor(&self.metadata_compression.compressor_name)
    }

    /// Name of the splitter of file data, if it is not the repository's.
    pub fn splitter(&self) -> Option<&str> {
        Some(self.splitter.algorithm.as_str()).filter(|name| !name.is_empty())
    }

    /// Whether an unreadable file is left out without failing the snapshot.
    pub fn ignore_file_errors(&self) -> bool {
        self.error_handling.ignore_file_errors.unwrap_or(false)
    }

    /// Whether an unreadable directory is left out without failing the snapshot.
    pub fn ignore_directory_errors(&self) -> bool {
        self.error_handling.ignore_directory_errors.unwrap_or(false)
    }

    /// Whether an entry of no known type is left out without failing the snapshot.
    pub fn ignore_unknown_types(&self) -> bool {
        self.error_handling.ignore_unknown_types.unwrap_or(true)
    }

    /// Whether a snapshot equal to the one before is not saved.
    pub fn ignore_identical_snapshots(&self) -> bool {
        self.retention.ignore_identical_snapshots.unwrap_or(false)
    }

    /// Whether other file systems mounted below are left out.
    pub fn one_file_system(&self) -> bool {
        self.files.one_file_system.unwrap_or(false)
    }

    /// Whether directories tagged as caches are stored empty.
    pub fn ignore_cache_dirs(&self) -> bool {
        self.files.ignore_cache_dirs.unwrap_or(true)
    }

    /// The most bytes a file may have without being left out.
    pub fn max_file_size(&self) -> Option<u64> {
        positive(self.files.max_file_size)
    }

    /// Size in bytes above which a file is cut into parts of that size; zero bytes make no parts and count as never.
    pub fn parallel_upload_above_size(&self) -> Option<u64> {
        positive(self.upload.parallel_upload_above_size?)
    }

    /// Number of files to read at a time, when it is set.
    pub fn max_parallel_file_reads(&self) -> Option<usize> {
        let set = self.upload.max_parallel_file_reads.and_then(positive)?;
        Some(usize::try_from(set).unwrap_or(usize::MAX))
    }
}

fn compressor(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty() && *name != NO_COMPRESSION)
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_values_have_a_meaning() {
        let policy = Policy::default();
        assert_eq!(policy.compressor(), None);
        assert_eq!(policy.metadata_compressor(), None);
        assert_eq!(policy.splitter(), None);
        assert!(!policy.ignore_file_errors());
        assert!(!policy.ignore_directory_errors());
        assert!(policy.ignore_unknown_types());
        assert!(!policy.ignore_identical_snapshots());
        assert!(!policy.one_file_system());
        assert!(policy.ignore_cache_dirs());
        assert_eq!(policy.max_file_size(), None);
        assert_eq!(policy.parallel_upload_above_size(), None);
        assert_eq!(policy.max_parallel_file_reads(), None);
    }

    #[test]
    fn default_values_are_in_force() {
        let policy = Policy::default_global();
        assert_eq!(policy.compressor(), None);
        assert_eq!(policy.metadata_compressor(), Some("zstd-fastest"));
        assert_eq!(policy.parallel_upload_above_size(), Some(2_147_483_648));
    }

    #[test]
    fn numbers_below_one_count_as_unset() {
        let mut policy = Policy::default();
        policy.files.max_file_size = -1;
        policy.upload.parallel_upload_above_size = Some(0);
        policy.upload.max_parallel_file_reads = Some(0);
        assert_eq!(policy.max_file_size(), None);
        assert_eq!(policy.parallel_upload_above_size(), None);
        assert_eq!(policy.max_parallel_file_reads(), None);
        policy.upload.max_parallel_file_reads = Some(7);
        assert_eq!(policy.max_parallel_file_reads(), Some(7));
    }
}
