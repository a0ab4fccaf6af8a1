//! Which contents: the flags that several commands about contents have.

use clap::Args;
use larder::content::id::{ContentId, Prefix};
use larder::content::index::{IndexEntry, IndexError};
use larder::repo::Repository;

#[derive(Debug, Args)]
pub(super) struct RangeArgs {
    /// Only contents whose ids begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// Only contents with a letter before their hash: metadata
    #[arg(long, conflicts_with = "non_prefixed")]
    prefixed: bool,
    /// Only contents without a letter before their hash: file data
    #[arg(long)]
    non_prefixed: bool,
}

impl RangeArgs {
    fn has(&self, id: &ContentId) -> bool {
        let unwanted = if id.prefix().is_none() { self.prefixed } else { self.non_prefixed };
        !unwanted && (self.prefix.is_empty() || id.to_string().starts_with(&self.prefix))
    }

    /// The letters that ids of the range begin with.
    fn prefixes(&self) -> std::ops::RangeInclusive<Prefix> {
        let letter = self.prefix.bytes().next();
        match letter.and_then(Prefix::from_key_byte) {
            Some(letter) => letter..=letter,
            None if letter.is_some() || self.non_prefixed => Prefix::NONE..=Prefix::NONE,
            None => Prefix::NONE..=Prefix::LAST,
        }
    }

    /// Calls for each content of the range, in order of their ids; deleted ones are among them. Entries of the index
    /// that cannot be used are given to `unusable`.
    pub(super) fn for_each(
        &self,
        repository: &Repository,
        mut each: impl FnMut(IndexEntry) -> anyhow::Result<()>,
        mut unusable: impl FnMut(IndexError),
    ) -> anyhow::Result<()> {
        for entry in repository.contents().indexes().entries(self.prefixes()) {
            match entry {
                Ok(entry) if self.has(&entry.id) => each(entry)?,
                Ok(_) => {}
                Err(e) => unusable(e),
            }
        }
        Ok(())
    }
}
