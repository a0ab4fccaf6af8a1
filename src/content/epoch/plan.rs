//! What follows from a listing of the epoch blobs: which index blobs to read, and what maintenance may do.
//!
//! Pure: listing and parameters in, conclusions out (format page 07 §7.1).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::names;
use crate::blob::{BlobId, BlobMetadata};
use crate::format::EpochParameters;

/// The epochs of a repository at the moment of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch: where writers write.
    pub write_epoch: u64,
    /// Entries deleted at or before this time (unix seconds) do not exist; 0: no such time.
    pub watermark: u64,
    uncompacted: BTreeMap<u64, Vec<BlobMetadata>>,
    singles: BTreeMap<u64, Vec<BlobMetadata>>,
    /// Complete ranges from epoch 0 on, each beginning where the one before ends.
    chain: Vec<Range>,
    markers: Vec<(u64, BlobMetadata)>,
    watermarks: Vec<(u64, BlobMetadata)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    blobs: Vec<BlobMetadata>,
}

/// A compaction that maintenance may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Beginning of the new blobs' names.
    pub prefix: String,
    /// Index blobs to merge.
    pub inputs: Vec<BlobMetadata>,
}

impl Epochs {
    /// Reads a listing of all blobs that begin with `x`, ordered by name.
    pub fn new(listing: &[BlobMetadata]) -> Self {
        let mut epochs = Self::default();
        let mut singles: BTreeMap<u64, Vec<BlobMetadata>> = BTreeMap::new();
        let mut ranges: BTreeMap<(u64, u64), Vec<BlobMetadata>> = BTreeMap::new();
        for blob in listing {
            let kind = blob.id.get(..2).unwrap_or_default();
            match (kind, names::epoch(&blob.id)) {
                (names::UNCOMPACTED, Some(e)) => epochs.uncompacted.entry(e).or_default().push(blob.clone()),
                (names::SINGLE, Some(e)) => singles.entry(e).or_default().push(blob.clone()),
                (names::MARKER, Some(e)) => epochs.markers.push((e, blob.clone())),
                (names::RANGE, _) => {
                    if let Some(range) = names::range(&blob.id) {
                        ranges.entry(range).or_default().push(blob.clone());
                    }
                }
                (names::WATERMARK, _) => {
                    if let Some(seconds) = names::watermark(&blob.id) {
                        epochs.watermarks.push((seconds, blob.clone()));
                    }
                }
                _ => {}
            }
        }
        epochs.write_epoch = epochs.markers.iter().map(|(e, _)| *e).max().unwrap_or(0);
        epochs.watermark = epochs.watermarks.iter().map(|(t, _)| *t).max().unwrap_or(0);
        epochs.singles = singles.iter().filter_map(|(e, blobs)| Some((*e, names::complete_set(blobs)?))).collect();
        let complete: Vec<_> = ranges
            .iter()
            .filter(|((first, last), _)| first <= last)
            .filter_map(|((first, last), blobs)| {
                Some(Range { first: *first, last: *last, blobs: names::complete_set(blobs)? })
            })
            .collect();
        epochs.chain = longest_chain(&complete);
        epochs
    }

    /// Whether every writer has left the epoch.
    fn is_settled(&self, epoch: u64) -> bool {
        epoch + 2 <= self.write_epoch
    }

    /// The index blobs that together hold every entry. Ranges count even where markers of their epochs are lost.
    pub fn active(&self) -> Vec<&BlobMetadata> {
        let ranges = self.chain.iter().flat_map(|range| &range.blobs);
        ranges.chain(self.after_chain_until(self.write_epoch + 1)).collect()
    }

    /// The index blobs that count of the epochs that no range covers, up to one.
    fn after_chain_until(&self, last: u64) -> impl Iterator<Item = &BlobMetadata> {
        let first = self.after_chain();
        // The end of an empty span must not lie before its beginning.
        let span = first..first.max(last + 1);
        let compacted = self.singles.range(span.clone()).filter(|(e, _)| self.is_settled(**e));
        let mut rest: BTreeMap<u64, &Vec<BlobMetadata>> = compacted.map(|(e, blobs)| (*e, blobs)).collect();
        for (epoch, blobs) in self.uncompacted.range(span) {
            rest.entry(*epoch).or_insert(blobs);
        }
        rest.into_values().flatten()
    }

    /// The index blobs that count in the place of one that does not any more; none when it never did.
    pub fn replacement(&self, blob: &BlobId) -> &[BlobMetadata] {
        let Some(epoch) = names::epoch(blob) else { return &[] };
        let range = self.chain.iter().find(|range| (range.first..=range.last).contains(&epoch));
        range.map(|range| range.blobs.as_slice()).or_else(|| self.single(epoch)).unwrap_or_default()
    }

    /// When the newest epoch was begun; None in one that no marker begins.
    pub fn started(&self) -> Option<Timestamp> {
        self.markers.iter().find(|(epoch, _)| *epoch == self.write_epoch).map(|(_, blob)| blob.timestamp)
    }

    /// What writers left of an epoch.
    pub fn uncompacted(&self, epoch: u64) -> &[BlobMetadata] {
        self.uncompacted.get(&epoch).map(Vec::as_slice).unwrap_or_default()
    }

    /// An epoch as one set, if it is settled and compacted.
    pub fn single(&self, epoch: u64) -> Option<&[BlobMetadata]> {
        self.singles.get(&epoch).filter(|_| self.is_settled(epoch)).map(Vec::as_slice)
    }

    /// First and last epoch of each range that counts, and its blobs.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64, &[BlobMetadata])> {
        self.chain.iter().map(|range| (range.first, range.last, range.blobs.as_slice()))
    }

    /// The first epoch that no range covers.
    pub fn after_chain(&self) -> u64 {
        self.chain.last().map_or(0, |range| range.last + 1)
    }

    /// Whether it is time for a new epoch.
    pub fn should_advance(&self, parameters: &EpochParameters) -> bool {
        should_advance(self.uncompacted.get(&self.write_epoch).map_or(&[], Vec::as_slice), parameters)
    }

    /// The next settled epoch to merge into one set.
    pub fn single_compaction(&self) -> Option<Compaction> {
        let mut epoch = self.after_chain();
        while self.singles.contains_key(&epoch) {
            epoch += 1;
        }
        let inputs = self.uncompacted.get(&epoch).filter(|_| self.is_settled(epoch))?.clone();
        Some(Compaction { prefix: format!("{}{epoch}_", names::SINGLE), inputs })
    }

    /// Settled epochs to merge into a range, when there are enough of them.
    pub fn range_checkpoint(&self, parameters: &EpochParameters) -> Option<Compaction> {
        let first = self.after_chain();
        let last = self.write_epoch.checked_sub(2)?;
        if last.checked_sub(first)? < parameters.full_checkpoint_frequency {
            return None;
        }
        let inputs: Vec<_> = self.after_chain_until(last).cloned().collect();
        (!inputs.is_empty()).then(|| Compaction { prefix: format!("{}{first}_{last}_", names::RANGE), inputs })
    }

    /// Blobs that nobody needs any more, neither now nor with a view that is somewhat old.
    pub fn superseded(&self, parameters: &EpochParameters) -> Vec<BlobId> {
        let recent = self.write_epoch.saturating_sub(1)..=self.write_epoch + 1;
        let newest = self.uncompacted.range(recent).flat_map(|(_, blobs)| blobs).map(|blob| blob.timestamp).max();
        let Some(cutoff) = newest.and_then(|t| t.checked_sub(parameters.cleanup_safety_margin).ok()) else {
            return Vec::new();
        };
        let old = |blobs: &[BlobMetadata]| blobs.iter().all(|blob| blob.timestamp < cutoff);
        let markers = self.markers.iter().filter(|(e, _)| e + 1 < self.write_epoch).map(|(_, blob)| blob);
        let watermarks = self.watermarks.iter().filter(|(t, blob)| *t != self.watermark && blob.timestamp < cutoff);
        let replaced = self.singles.iter().filter(|(e, set)| self.is_settled(**e) && old(set));
        let replaced = replaced.filter_map(|(e, _)| self.uncompacted.get(e)).flatten();
        markers.chain(watermarks.map(|(_, blob)| blob)).chain(replaced).map(|blob| blob.id.clone()).collect()
    }
}

/// Whether an epoch with these blobs is long and full enough to end.
fn should_advance(blobs: &[BlobMetadata], parameters: &EpochParameters) -> bool {
    let times = || blobs.iter().map(|blob| blob.timestamp);
    let Some((first, last)) = times().min().zip(times().max()) else { return false };
    let length: u64 = blobs.iter().map(|blob| blob.length).sum();
    let span: SignedDuration = last.duration_since(first);
    span >= parameters.min_epoch_duration
        && (blobs.len() >= parameters.advance_on_count || length >= parameters.advance_on_total_size)
}

/// The ranges from epoch 0 on that reach furthest; of those that reach equally far, the fewest.
fn longest_chain(ranges: &[Range]) -> Vec<Range> {
    // Best way to cover everything before an epoch, shortest ranges first: number of ranges, and the last of them.
    let mut best: BTreeMap<u64, (usize, Option<&Range>)> = BTreeMap::from([(0, (0, None))]);
    let mut ordered: Vec<&Range> = ranges.iter().collect();
    ordered.sort_by_key(|range| (range.first, range.last));
    for range in ordered {
        let Some((count, _)) = best.get(&range.first).copied() else { continue };
        let end = range.last + 1;
        let shorter = best.get(&end).is_none_or(|(known, _)| count + 1 < *known);
        if shorter {
            best.insert(end, (count + 1, Some(range)));
        }
    }
    let mut chain = Vec::new();
    let mut end = best.last_key_value().map_or(0, |(end, _)| *end);
    while let Some((_, Some(range))) = best.get(&end) {
        chain.push((*range).clone());
        end = range.first;
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn vectors(name: &str) -> Value {
        let path = format!("{}/tests/data/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn strings(list: &Value) -> Vec<String> {
        list.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    }

    fn sorted(mut list: Vec<String>) -> Vec<String> {
        list.sort();
        list
    }

    fn blob(id: &str, length: u64, seconds: i64) -> BlobMetadata {
        BlobMetadata { id: BlobId::new(id).unwrap(), length, timestamp: Timestamp::from_second(seconds).unwrap() }
    }

    fn ids<'a>(blobs: impl IntoIterator<Item = &'a BlobMetadata>) -> Vec<String> {
        sorted(blobs.into_iter().map(|b| b.id.to_string()).collect())
    }

    #[test]
    fn scenarios() {
        let scenarios = vectors("epoch_sets")["scenarios"].clone();
        assert!(scenarios.as_array().unwrap().len() > 15);
        for s in scenarios.as_array().unwrap() {
            let name = s["name"].as_str().unwrap();
            let number = |v: &Value| v.as_i64().unwrap();
            let listing: Vec<_> = s["blobs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|b| blob(b["id"].as_str().unwrap(), b["length"].as_u64().unwrap(), number(&b["mtime_unix"])))
                .collect();
            let parameters: EpochParameters = serde_json::from_value(s["parameters"].clone()).unwrap();
            let epochs = Epochs::new(&listing);
            assert_eq!(epochs.write_epoch, s["write_epoch"].as_u64().unwrap(), "{name}");
            assert_eq!(epochs.watermark, s["deletion_watermark_unix"].as_u64().unwrap_or(0), "{name}");
            assert_eq!(ids(epochs.active()), sorted(strings(&s["active"])), "{name}");
            assert_eq!(epochs.should_advance(&parameters), s["advance"].as_bool().unwrap(), "{name}");
            for (key, found) in [
                ("single_compaction", epochs.single_compaction()),
                ("range_checkpoint", epochs.range_checkpoint(&parameters)),
            ] {
                let found = found.map(|c| (c.prefix, ids(&c.inputs)));
                let expected = s[key]
                    .as_object()
                    .map(|c| (c["output_prefix"].as_str().unwrap().to_owned(), sorted(strings(&c["inputs"]))));
                assert_eq!(found, expected, "{name}: {key}");
            }
            let superseded = epochs.superseded(&parameters).iter().map(ToString::to_string).collect();
            assert_eq!(sorted(superseded), sorted(strings(&s["cleanup_deletes"])), "{name}");
        }
    }

    #[test]
    fn replacements() {
        let listing: Vec<_> = [
            "xe4",
            "xn0_a-s1-c1",
            "xn1_b-s1-c1",
            "xn2_c-s1-c1",
            "xn3_d-s1-c1",
            "xr0_1_e-s2-c1",
            "xs1_f-s3-c1",
            "xs2_g-s4-c1",
            "xs3_h-s5-c2",
        ]
        .into_iter()
        .zip(0..)
        .map(|(id, seconds)| blob(id, 100, seconds))
        .collect();
        let epochs = Epochs::new(&listing);
        assert_eq!(epochs.started(), Some(Timestamp::UNIX_EPOCH));
        let replacement = |id: &str| ids(epochs.replacement(&BlobId::new(id).unwrap()));
        assert_eq!(replacement("xn0_a-s1-c1"), ["xr0_1_e-s2-c1"]);
        assert_eq!(replacement("xs1_f-s3-c1"), ["xr0_1_e-s2-c1"]);
        assert_eq!(replacement("xn2_c-s1-c1"), ["xs2_g-s4-c1"]);
        // Half a set.
        assert_eq!(replacement("xs3_h-s5-c2"), [""; 0]);
        assert_eq!(
            epochs.ranges().map(|(first, last, blobs)| (first, last, blobs.len())).collect::<Vec<_>>(),
            [(0, 1, 1)]
        );
        assert_eq!((epochs.after_chain(), epochs.single(2).map(<[_]>::len), epochs.single(3)), (2, Some(1), None));
        assert_eq!(ids(epochs.uncompacted(3)), ["xn3_d-s1-c1"]);
    }

    #[test]
    fn advancing() {
        for case in vectors("epoch_names")["should_advance"].as_array().unwrap() {
            let number = |key: &str| case[key].as_u64().unwrap();
            let parameters = EpochParameters {
                min_epoch_duration: SignedDuration::from_nanos(number("min_duration_ns").cast_signed()),
                advance_on_count: number("count_threshold") as usize,
                advance_on_total_size: number("size_threshold"),
                ..EpochParameters::default()
            };
            let count = number("blob_count");
            let blobs: Vec<_> = (0..count)
                .map(|i| {
                    let mut blob = blob(&format!("xn0_{i}"), number("each_blob_length"), 1_700_000_000);
                    if i + 1 == count {
                        blob.timestamp += SignedDuration::from_nanos(number("span_first_to_last_ns").cast_signed());
                    }
                    blob
                })
                .collect();
            assert_eq!(should_advance(&blobs, &parameters), case["advance"].as_bool().unwrap(), "{case}");
        }
    }

    /// Names of all kinds in a few epochs, sets of two among them.
    fn universe() -> Vec<String> {
        let mut names = Vec::new();
        for epoch in 0..6 {
            names.push(format!("xe{epoch}"));
            names.extend(["a-s1-c1", "b-s2-c1"].map(|rest| format!("xn{epoch}_{rest}")));
            names.extend(["a-s1-c2", "b-s1-c2", "c-s2-c1"].map(|rest| format!("xs{epoch}_{rest}")));
            for last in epoch + 1..6 {
                names.extend(["a-s1-c2", "b-s1-c2", "c-s2-c1"].map(|rest| format!("xr{epoch}_{last}_{rest}")));
            }
        }
        names.sort();
        names
    }

    /// The blobs that begin with `prefix`, as a compaction's, as far as they are complete: by the format's words.
    fn complete(names: &[String], prefix: &str) -> Option<Vec<String>> {
        let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names.iter().filter(|name| name.starts_with(prefix)) {
            let parts: Vec<&str> = name.split('-').collect();
            let set = sets.entry(parts[1].to_owned()).or_default();
            set.push(name.clone());
            if format!("c{}", set.len()) == parts[2] {
                return Some(set.clone());
            }
        }
        None
    }

    /// The sets of blobs that may be active: one for each chain of ranges that is as good as any.
    fn active_by_definition(names: &[String]) -> Vec<Vec<String>> {
        let newest: u64 = (0..6).rev().find(|epoch| names.contains(&format!("xe{epoch}"))).unwrap_or(0);
        let mut chains: Vec<(u64, Vec<Vec<String>>)> = vec![(0, Vec::new())];
        let mut known = 0;
        while let Some((next, chain)) = chains.get(known).cloned() {
            known += 1;
            for last in next..6 {
                if let Some(set) = complete(names, &format!("xr{next}_{last}_")) {
                    chains.push((last + 1, [chain.clone(), vec![set]].concat()));
                }
            }
        }
        let furthest = chains.iter().map(|(next, _)| *next).max().unwrap();
        chains.retain(|(next, _)| *next == furthest);
        let fewest = chains.iter().map(|(_, chain)| chain.len()).min().unwrap();
        let best = chains.into_iter().filter(|(_, chain)| chain.len() == fewest);
        best.map(|(next, chain)| {
            let mut active = chain.concat();
            for epoch in next..=newest + 1 {
                let single = complete(names, &format!("xs{epoch}_")).filter(|_| epoch + 2 <= newest);
                let uncompacted = || names.iter().filter(|name| name.starts_with(&format!("xn{epoch}_"))).cloned();
                active.extend(single.unwrap_or_else(|| uncompacted().collect()));
            }
            sorted(active)
        })
        .collect()
    }

    /// What somebody does to the epochs of a repository.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Write,
        Advance,
        CompactSingle,
        CompactRange,
        CleanUp,
    }

    /// Every index blob that the active ones are, or were made of.
    fn reached(epochs: &Epochs, made_of: &BTreeMap<String, Vec<String>>) -> Vec<String> {
        let mut reached = Vec::new();
        let mut rest = ids(epochs.active());
        while let Some(id) = rest.pop() {
            match made_of.get(&id) {
                Some(inputs) => rest.extend(inputs.iter().cloned()),
                None => reached.push(id),
            }
        }
        sorted(reached)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::format::testdata::cases(512)))]

        #[test]
        fn what_is_active_is_as_defined(names in prop::sample::subsequence(universe(), 0..=universe().len())) {
            let listing: Vec<_> = names.iter().map(|name| blob(name, 100, 1000)).collect();
            let active = ids(Epochs::new(&listing).active());
            let allowed = active_by_definition(&names);
            prop_assert!(allowed.contains(&active), "{active:?} is none of {allowed:?}");
        }

        /// Whatever is written, compacted and cleaned up, in whatever order: everything written is there, once.
        #[test]
        fn maintenance_loses_nothing(steps in prop::collection::vec(prop::sample::select(vec![
            Step::Write, Step::Write, Step::Advance, Step::Advance, Step::CompactSingle, Step::CompactRange,
            Step::CleanUp,
        ]), 0..60)) {
            let parameters = EpochParameters {
                full_checkpoint_frequency: 2,
                cleanup_safety_margin: SignedDuration::from_secs(3),
                ..EpochParameters::default()
            };
            let mut listing: Vec<BlobMetadata> = Vec::new();
            let mut made_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut written = Vec::new();
            for (step, now) in steps.into_iter().zip(1..) {
                let epochs = Epochs::new(&listing);
                let compaction = match step {
                    Step::Write => {
                        let id = format!("xn{}_{now:x}-s{now}-c1", epochs.write_epoch);
                        written.push(id.clone());
                        listing.push(blob(&id, 100, now));
                        None
                    }
                    Step::Advance => {
                        listing.push(blob(&format!("xe{}", epochs.write_epoch + 1), 1, now));
                        None
                    }
                    Step::CompactSingle => epochs.single_compaction(),
                    Step::CompactRange => epochs.range_checkpoint(&parameters),
                    Step::CleanUp => {
                        let superseded = epochs.superseded(&parameters);
                        listing.retain(|blob| !superseded.contains(&blob.id));
                        None
                    }
                };
                if let Some(compaction) = compaction {
                    let id = format!("{}{now:x}-s{now}-c1", compaction.prefix);
                    made_of.insert(id.clone(), ids(&compaction.inputs));
                    listing.push(blob(&id, 100, now));
                }
                listing.sort_by(|a, b| a.id.cmp(&b.id));
                prop_assert_eq!(reached(&Epochs::new(&listing), &made_of), sorted(written.clone()), "{:?}", step);
            }
        }
    }
}
