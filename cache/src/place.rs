//! The parts of a cache that its readers and its writer share.

use std::path::PathBuf;

use crate::room::{Options, Room};
use crate::stats::Counters;
use crate::view::View;

/// Where the segments are, under the directory of a cache.
const SEGMENTS: &str = "chunks";

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) view: View,
    pub(crate) room: Room,
    pub(crate) counters: Counters,
}

impl Place {
    pub(crate) fn new(root: PathBuf, options: Options) -> Self {
        let view = View::new(root.join(SEGMENTS));
        Self { view, room: Room::new(root, options), counters: Counters::default() }
    }
}
