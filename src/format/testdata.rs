//! Reproducible inputs that test vectors and fixtures name instead of carrying them.
//!
//! A vector says `lines(20000)` or `splitmix(42, 50331648)`; [`generate`] gives the bytes.

use std::fmt::Write;

/// How many cases of a property to try: as many as given, unless PROPTEST_CASES asks for more.
pub fn cases(usual: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    asked.unwrap_or(usual).max(usual)
}

/// Byte `i` is `(7 i + 3) mod 256`.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(7).wrapping_add(3) & 0xff) as u8).collect()
}

/// The outputs of SplitMix64 started at `seed`, little-endian, cut to `length` bytes.
pub fn splitmix(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed;
    while bytes.len() < length {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Numbered lines of text, cut to `length` bytes.
pub fn lines(length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length + 64);
    let mut i: u64 = 0;
    while text.len() < length {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{i:010},{:03},lorem ipsum dolor sit amet", i * i % 997);
        i += 1;
    }
    text.truncate(length);
    text.into_bytes()
}

pub fn zeros(length: usize) -> Vec<u8> {
    vec![0; length]
}

/// The bytes that `name` stands for: `empty`, `ascii 'abc'`, `pattern(n)`, `splitmix(seed,n)`, `lines(n)`, `zeros(n)`;
/// `None` for anything else.
pub fn generate(name: &str) -> Option<Vec<u8>> {
    if name == "empty" {
        return Some(Vec::new());
    }
    if let Some(text) = name.strip_prefix("ascii '").and_then(|rest| rest.strip_suffix('\'')) {
        return Some(text.as_bytes().to_vec());
    }
    let (generator, arguments) = name.strip_suffix(')')?.split_once('(')?;
    let arguments: Vec<u64> = arguments.split(',').map(|a| a.trim().parse().ok()).collect::<Option<_>>()?;
    match (generator, arguments.as_slice()) {
        ("pattern", [length]) => Some(pattern(usize::try_from(*length).ok()?)),
        ("splitmix", [seed, length]) => Some(splitmix(*seed, usize::try_from(*length).ok()?)),
        ("lines", [length]) => Some(lines(usize::try_from(*length).ok()?)),
        ("zeros", [length]) => Some(zeros(usize::try_from(*length).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod vectors {
    use serde::de::DeserializeOwned;

    /// The vectors of one file of `tests/data/vectors`.
    pub(crate) fn load<T: DeserializeOwned>(file: &str) -> T {
        let path = format!("{}/tests/data/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_give_the_documented_bytes() {
        assert_eq!(hex::encode(splitmix(42, 8)), "956eeb2f2632d7bd");
        assert_eq!(splitmix(42, 5), splitmix(42, 8)[..5]);
        assert_eq!(pattern(40)[36..40], [255, 6, 13, 20]);
        assert!(lines(100).starts_with(b"0000000000,000,lorem ipsum dolor sit amet\n0000000001,001,lorem"));
        assert_eq!(lines(100).len(), 100);
    }

    #[test]
    fn names_are_parsed() {
        assert_eq!(generate("empty"), Some(vec![]));
        assert_eq!(generate("ascii 'abc'"), Some(b"abc".to_vec()));
        assert_eq!(generate("splitmix(42, 8)"), Some(splitmix(42, 8)));
        assert_eq!(generate("zeros(3)"), Some(vec![0; 3]));
        for name in ["", "lines", "lines(x)", "lines(1,2)", "splitmix(1)", "other(1)"] {
            assert_eq!(generate(name), None, "{name}");
        }
    }
}
