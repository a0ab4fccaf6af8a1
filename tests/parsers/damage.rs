//! Damage done to an input: cut, flipped, blown up. Systematic, so that a failure comes again.

/// Places at which each kind of damage is done, at most.
const MOST_PLACES: usize = 120;

/// Numbers at the edges of what fits into something.
const NUMBERS: [&str; 6] =
    ["-1", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615", "1e999"];

/// Each variant with what was done.
pub(crate) fn of(original: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let places = places(original.len());
    let at_each = places.flat_map(move |at| {
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = original.to_vec();
            change(&mut bytes);
            bytes
        };
        let bit = |bit: u8| changed(&|bytes| bytes[at] ^= 1 << bit);
        let fill = |length: usize, value: u8| {
            changed(&|bytes| bytes.iter_mut().skip(at).take(length).for_each(|b| *b = value))
        };
        let doubled = |length: usize| changed(&|bytes| double(bytes.iter_mut().skip(at).take(length)));
        [
            (format!("cut at {at}"), original[..at].to_vec()),
            (format!("beginning at {at}"), original[at..].to_vec()),
            (format!("lowest bit flipped at {at}"), bit(0)),
            (format!("bit 5 flipped at {at}"), bit(5)),
            (format!("highest bit flipped at {at}"), bit(7)),
            (format!("one 0xff at {at}"), fill(1, 0xff)),
            (format!("four 0xff at {at}"), fill(4, 0xff)),
            (format!("four zeros at {at}"), fill(4, 0)),
            (format!("number of one byte doubled at {at}"), doubled(1)),
            (format!("number of four bytes doubled at {at}"), doubled(4)),
            (format!("without the byte at {at}"), [&original[..at], &original[at + 1..]].concat()),
            (format!("300 0xff put in at {at}"), [&original[..at], &[0xff; 300], &original[at..]].concat()),
            (format!("the rest twice from {at}"), [original, &original[at..]].concat()),
        ]
    });
    let numbers = number_places(original).into_iter().flat_map(move |(start, end)| {
        NUMBERS.map(|number| {
            let text = [&original[..start], number.as_bytes(), &original[end..]].concat();
            (format!("{number} at {start}"), text)
        })
    });
    at_each.chain(numbers)
}

/// Some or all positions in an input of this length.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(length.div_ceil(MOST_PLACES).max(1))
}

/// Doubles a big-endian number.
fn double<'a>(bytes: impl DoubleEndedIterator<Item = &'a mut u8>) {
    let mut carry = 0;
    for byte in bytes.rev() {
        let doubled = u16::from(*byte) * 2 + carry;
        (*byte, carry) = (doubled as u8, doubled >> 8);
    }
}

/// Where decimal numbers begin and end.
fn number_places(text: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) {
        let length = text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        found.push((start, start + length));
        at = start + length;
    }
    let step = found.len().div_ceil(MOST_PLACES).max(1);
    found.into_iter().step_by(step).collect()
}

#[test]
fn numbers_are_found_and_doubled() {
    assert_eq!(number_places(b"a12,3 x45"), [(1, 3), (4, 5), (7, 9)]);
    let mut bytes = [0x00, 0x00, 0x80, 0xff];
    double(bytes.iter_mut());
    assert_eq!(bytes, [0, 1, 1, 0xfe]);
    assert!(places(10_000).count() <= MOST_PLACES && places(20).count() == 20 && places(0).count() == 0);
}
