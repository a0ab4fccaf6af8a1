//! What to back up and what to keep.
//!
//! Format page 22. A policy is a document about a target: everything, a machine, a user, or a path. The layer is pure: it is given
//! the policies that a repository holds and the facts about a source, and it decides; it reads no repository, no directory and no
//! clock.
//!
//! ```text
//! target        SourceInfo: whom a policy is about, as text and as labels of a manifest
//! model         Policy: the document, declared field by field with section!
//! merge         EffectivePolicy: what applies to a target, and where each value was defined
//! in_force      what an unset value means where it is used
//! tree          PolicyTree: which policy applies to each entry of a source
//! compression   the compressor for one file
//! ignore        patterns;   ignore_context   which entries of a directory are left out
//! retention     which snapshots are kept, and why
//! validate      what must not be stored
//! store         policies in a repository
//! ```
//!
//! Where kopia's behaviour looks odd it is kept: the same repository with the same policies has to hold the same files, and keep the
//! same snapshots, whichever of the two programs runs tonight.

mod compression;
mod error;
mod ignore;
mod ignore_context;
mod in_force;
mod merge;
mod model;
mod retention;
mod section;
pub mod store;
mod target;
#[cfg(test)]
mod testing;
mod tree;
mod validate;

pub use error::{PatternProblem, PolicyError};
pub use ignore_context::IgnoreContext;
pub use merge::{EffectivePolicy, effective_policy, merge};
pub use model::*;
pub use retention::{RetentionCandidate, RetentionPeriod, RetentionReason, compact_reasons, retention_reasons};
pub use target::{Level, SourceInfo};
pub use tree::PolicyTree;
