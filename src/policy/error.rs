//! What can go wrong in the policy layer: only input that a user or a repository supplied.
//!
//! Nothing here does I/O, so each variant stands for a text that the caller has to show to its author: an argument, the labels of
//! a manifest, or a line of an ignore file.

use thiserror::Error;

/// Why a policy, its target or its ignore rules could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// The argument names no source: nothing follows its `@`.
    #[error("invalid hostname in {0:?}")]
    InvalidSource(String),
    /// The target's path cannot carry a policy, because it would never equal the path of a source.
    #[error("path {0:?} must not end in a separator")]
    TrailingSeparator(String),
    /// The labels of a manifest do not name a policy target.
    #[error("label {label:?} of the policy manifest is {found}")]
    InvalidLabels {
        /// The label at fault.
        label: &'static str,
        /// Its value, quoted, or `missing`.
        found: String,
    },
    /// A policy is to make snapshots by itself, and not to.
    #[error("a manual policy cannot have a schedule (interval, times, crontab or run-missed) as well")]
    ManualSchedule,
    /// A path has only one snapshot at a time.
    #[error("max-parallel-snapshots cannot be set for a path, only for a user, a host or globally")]
    ParallelSnapshotsOfPath,
    /// A schedule is malformed.
    #[error("invalid cron expression {expression:?}: {problem}")]
    InvalidCron {
        /// The expression as written.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An ignore rule is malformed; its author has to correct it before a snapshot can be made.
    #[error("invalid ignore pattern {pattern:?} in {file}, line {line}: {problem}")]
    InvalidPattern {
        /// The pattern as written.
        pattern: String,
        /// The ignore file relative to the snapshot root, or the policy that lists the pattern.
        file: String,
        /// Line in the file, or position in the policy's list, from 1.
        line: usize,
        /// What is wrong with it.
        problem: PatternProblem,
    },
}

/// What is wrong with an ignore pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternProblem {
    /// A character class is not closed.
    #[error("missing ]")]
    MissingBracket,
    /// `[:name:]` is not one of the POSIX classes.
    #[error("unknown character class [:{0}:]")]
    UnknownClass(String),
    /// Nothing follows the last backslash.
    #[error("trailing backslash")]
    TrailingBackslash,
}
