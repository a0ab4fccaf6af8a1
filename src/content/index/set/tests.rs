use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{IndexData, encode, merge, runs};
use super::*;

/// Few ids, so that layers often have the same: of all prefixes that matter, all keys of one length.
fn some_id() -> impl Strategy<Value = ContentId> {
    let prefix = prop::sample::select(vec![0, b'g', b'k', b'm', b'z']);
    let last = prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xfe, 0xff]);
    (prefix, last.clone(), last).prop_map(|(prefix, first, last)| {
        let mut hash = [first; 16];
        hash[15] = last;
        ContentId::from_hash(Prefix::from_key_byte(prefix).unwrap(), &hash).unwrap()
    })
}

/// Entries that both versions of the format can hold. Times and packs are few, so that some decide nothing.
fn some_entry() -> impl Strategy<Value = IndexEntry> {
    let numbers = (0_u64..6, 0_u8..3, 0_u32..1 << 30, 28_u32..1 << 28);
    (some_id(), numbers, any::<bool>(), 1_u8..=3).prop_map(
        |(id, (timestamp, pack, pack_offset, packed_length), deleted, format_version)| IndexEntry {
            id,
            timestamp,
            deleted,
            pack: BlobId::new(&format!("p{pack}")).unwrap(),
            pack_offset,
            packed_length,
            original_length: packed_length - 28,
            compression: 0,
            format_version,
            encryption_key: 0,
        },
    )
}

/// A layer of entries, written in a version of the format.
fn layer(name: String, entries: Vec<IndexEntry>, version: u8) -> Layer {
    let bytes = encode(&merge(entries), version).unwrap();
    let index = Index::open(IndexData::Memory(bytes.into())).unwrap();
    index.check().unwrap();
    Layer { covers: [BlobId::new(&name).unwrap()].into(), index: Arc::new(index) }
}

/// What counts of some entries, in the words of the format (page 06 §6.3): the newer; at the same time the one that is
/// not deleted; then the one in the pack whose name is greater.
fn model(layers: &[(Vec<IndexEntry>, u8)]) -> BTreeMap<ContentId, IndexEntry> {
    let mut model: BTreeMap<ContentId, IndexEntry> = BTreeMap::new();
    for entry in layers.iter().flat_map(|(entries, _)| entries) {
        let wins = model.get(&entry.id).is_none_or(|known| {
            if entry.timestamp != known.timestamp {
                entry.timestamp > known.timestamp
            } else if entry.deleted != known.deleted {
                known.deleted
            } else {
                entry.pack > known.pack
            }
        });
        if wins {
            model.insert(entry.id, entry.clone());
        }
    }
    model
}

/// What decides about an entry: of two that agree in it, either may be found.
fn deciding(entry: &IndexEntry) -> (ContentId, u64, bool, BlobId) {
    (entry.id, entry.timestamp, entry.deleted, entry.pack.clone())
}

fn found(set: &IndexSet, prefixes: RangeInclusive<Prefix>) -> Vec<(ContentId, u64, bool, BlobId)> {
    set.entries(prefixes).map(|entry| deciding(&entry.unwrap())).collect()
}

proptest! {
    #[test]
    fn layers_are_as_one_map(
        layers in prop::collection::vec((prop::collection::vec(some_entry(), 1..20), 1_u8..=2), 0..12),
        watermark in 0_u64..6,
        other in some_id(),
        first in prop::sample::select(vec![0, b'g', b'h', b'm']),
        last in prop::sample::select(vec![0, b'k', b'l', b'z']),
    ) {
        let expected = model(&layers);
        let named = (0..).map(|number| format!("xn0_{number}")).zip(layers);
        let layers: Vec<Layer> = named.map(|(name, (entries, version))| layer(name, entries, version)).collect();
        let mut set = IndexSet { layers, watermark, damaged: Vec::new() };
        let visible = |entry: &&IndexEntry| !entry.deleted || entry.timestamp > watermark;
        let (first, last) = (Prefix::from_key_byte(first).unwrap(), Prefix::from_key_byte(last).unwrap());
        let between = |entry: &&IndexEntry| (first..=last).contains(&entry.id.prefix());
        // As they are; in another order; and with most of them merged into one.
        for round in 0..3 {
            let all: Vec<_> = expected.values().filter(visible).map(deciding).collect();
            prop_assert_eq!(&found(&set, Prefix::NONE..=Prefix::LAST), &all);
            let some: Vec<_> = expected.values().filter(visible).filter(between).map(deciding).collect();
            prop_assert_eq!(found(&set, first..=last), some);
            for id in expected.keys().chain([&other]) {
                let found = set.find(id).unwrap().as_ref().map(deciding);
                prop_assert_eq!(found, expected.get(id).filter(visible).map(deciding));
            }
            let mut blobs: Vec<&BlobId> = set.blobs().collect();
            blobs.sort();
            blobs.dedup();
            let before = blobs.len();
            match round {
                0 => set.layers.reverse(),
                _ => runs::compact(None, &mut set.layers),
            }
            prop_assert_eq!(set.blobs().count(), before, "every blob is covered once");
        }
    }
}
