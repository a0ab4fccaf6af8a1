//! S2 streams: the framing around S2 blocks.
//!
//! ```text
//! stream = chunk…          the first chunk is a stream identifier; nothing at all is the empty stream
//! chunk  = type (1) ‖ length of the body (u24, little-endian) ‖ body
//!
//! type      body
//! 00        masked CRC-32C (u32, little-endian) ‖ S2 block
//! 01        masked CRC-32C ‖ the bytes themselves
//! ff        "S2sTwO"; or "sNaPpY", since Snappy's streams are a subset
//! 80..=fe   skipped (padding, index)
//! 02..=7f   an error: these change how later chunks are to be read
//! ```
//!
//! The CRC is that of the decoded bytes, rotated right by 15 and with 0xa282ead8 added. A block decodes to 4 MiB at
//! most; blocks written here, as those of kopia, to 1 MiB.
//!
//! Format page 04 §4.2. The blocks are coded by a library; its own reader of streams takes a stream cut inside a chunk's
//! header for a complete one, and it computes the CRC ten times slower.

use minlz::s2::Encoder;

use super::compression::{Length, too_long};

const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const FIRST_SKIPPABLE: u8 = 0x80;
const STREAM_IDENTIFIER: u8 = 0xff;

const MAGIC: &[u8] = b"S2sTwO";
const SNAPPY_MAGIC: &[u8] = b"sNaPpY";

const CRC_LENGTH: usize = 4;

const WRITTEN_BLOCK_LENGTH: usize = 1 << 20;
const MAX_BLOCK_LENGTH: usize = 4 << 20;

/// How hard the encoder looks for matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    Default,
    Better,
}

/// Appends the stream of `input` to `out`.
pub(super) fn encode(encoder: &mut Encoder, effort: Effort, input: &[u8], out: &mut Vec<u8>) {
    if input.is_empty() {
        return;
    }
    push_chunk(out, STREAM_IDENTIFIER, &[MAGIC]);
    for block in input.chunks(WRITTEN_BLOCK_LENGTH) {
        let crc = masked_crc(block).to_le_bytes();
        let encoded = match effort {
            Effort::Default => encoder.encode(block),
            Effort::Better => encoder.encode_better(block),
        };
        if encoded.len() < block.len() {
            push_chunk(out, COMPRESSED, &[&crc, &encoded]);
        } else {
            push_chunk(out, UNCOMPRESSED, &[&crc, block]);
        }
    }
}

/// Appends a chunk. Bodies are at most a block and its CRC, so their length fits into three bytes.
fn push_chunk(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let [b0, b1, b2, ..] = length.to_le_bytes();
    out.extend_from_slice(&[kind, b0, b1, b2]);
    for part in body {
        out.extend_from_slice(part);
    }
}

/// The bytes of a whole stream.
pub(super) fn decode(stream: &[u8], length: Length) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::with_capacity(length.capacity_for(stream));
    let mut rest = stream;
    let mut identified = false;
    while !rest.is_empty() {
        let (kind, body, after) = split_chunk(rest).ok_or("the stream is cut")?;
        rest = after;
        match kind {
            STREAM_IDENTIFIER if body == MAGIC || body == SNAPPY_MAGIC => identified = true,
            STREAM_IDENTIFIER => return Err("unknown stream identifier".to_owned()),
            _ if !identified => return Err("no stream identifier at the start".to_owned()),
            COMPRESSED | UNCOMPRESSED => decode_block(kind, body, length, &mut decoded)?,
            FIRST_SKIPPABLE.. => {}
            _ => return Err(format!("unknown chunk type {kind:#04x}")),
        }
    }
    Ok(decoded)
}

/// The type and body of the first chunk, and what follows it.
fn split_chunk(stream: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, b0, b1, b2], rest) = stream.split_first_chunk()?;
    let length = u32::from_le_bytes([*b0, *b1, *b2, 0]) as usize;
    let (body, after) = rest.split_at_checked(length)?;
    Some((*kind, body, after))
}

fn decode_block(kind: u8, body: &[u8], length: Length, decoded: &mut Vec<u8>) -> Result<(), String> {
    let (crc, block) = body.split_first_chunk::<CRC_LENGTH>().ok_or("a chunk is too short")?;
    let block_length = match kind {
        COMPRESSED => minlz::s2::decode_len(block).map_err(|error| error.to_string())?.0,
        _ => block.len(),
    };
    if block_length > MAX_BLOCK_LENGTH {
        return Err(format!("a block of {block_length} bytes"));
    }
    if block_length > length.limit() - decoded.len() {
        return Err(too_long(length));
    }
    let start = decoded.len();
    length.make_room(decoded, block_length);
    if kind == COMPRESSED {
        decoded.resize(start + block_length, 0);
        minlz::s2::decode_into(&mut decoded[start..], block).map_err(|error| error.to_string())?;
    } else {
        decoded.extend_from_slice(block);
    }
    if masked_crc(&decoded[start..]) != u32::from_le_bytes(*crc) {
        return Err("the checksum of a block does not match".to_owned());
    }
    Ok(())
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::super::testdata;
    use super::*;

    const ANY: Length = Length::AtMost(64 << 20);

    fn encoded(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut Encoder::new(), Effort::Default, input, &mut out);
        out
    }

    fn chunk(kind: u8, body: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        push_chunk(&mut out, kind, body);
        out
    }

    fn uncompressed(bytes: &[u8]) -> Vec<u8> {
        chunk(UNCOMPRESSED, &[&masked_crc(bytes).to_le_bytes(), bytes])
    }

    #[test]
    fn the_empty_stream() {
        assert_eq!(encoded(b""), b"");
        assert_eq!(decode(b"", Length::Exact(0)), Ok(vec![]));
        assert_eq!(decode(&chunk(STREAM_IDENTIFIER, &[MAGIC]), Length::Exact(0)), Ok(vec![]));
    }

    #[test]
    fn blocks_hold_one_mebibyte() {
        let mut input = testdata::lines(1 << 20);
        input.extend(testdata::splitmix(1, (1 << 20) + 10));
        let stream = encoded(&input);
        assert_eq!(decode(&stream, Length::Exact(input.len())), Ok(input));
        let mut kinds = Vec::new();
        let mut rest = stream.as_slice();
        while let Some((kind, _, after)) = split_chunk(rest) {
            kinds.push(kind);
            rest = after;
        }
        assert_eq!(kinds, [STREAM_IDENTIFIER, COMPRESSED, UNCOMPRESSED, UNCOMPRESSED]);
    }

    #[test]
    fn streams_of_other_writers() {
        let identifier = chunk(STREAM_IDENTIFIER, &[MAGIC]);
        let snappy = chunk(STREAM_IDENTIFIER, &[SNAPPY_MAGIC]);
        let padding = chunk(0xfe, &[&[0; 10]]);
        let index = chunk(0x99, &[b"index"]);
        let joined = [&snappy, &uncompressed(b"ab"), &padding, &identifier, &index, &uncompressed(b"cd")];
        assert_eq!(decode(&joined.map(Vec::as_slice).concat(), ANY), Ok(b"abcd".to_vec()));

        // The largest block allowed, and one that is larger.
        let largest = minlz::s2::encode(&vec![7; MAX_BLOCK_LENGTH]);
        let crc = masked_crc(&vec![7; MAX_BLOCK_LENGTH]).to_le_bytes();
        let stream = [identifier.clone(), chunk(COMPRESSED, &[&crc, &largest])].concat();
        assert_eq!(decode(&stream, ANY), Ok(vec![7; MAX_BLOCK_LENGTH]));
        let too_large = minlz::s2::encode(&vec![7; MAX_BLOCK_LENGTH + 1]);
        let stream = [identifier, chunk(COMPRESSED, &[&crc, &too_large])].concat();
        assert!(decode(&stream, ANY).is_err());
    }

    #[test]
    fn malformed_streams_are_refused() {
        let identifier = chunk(STREAM_IDENTIFIER, &[MAGIC]);
        let cases = [
            ("no identifier", uncompressed(b"ab")),
            ("padding first", [chunk(0xfe, &[b"x"]), identifier.clone(), uncompressed(b"ab")].concat()),
            ("wrong identifier", chunk(STREAM_IDENTIFIER, &[b"S2sTw0"])),
            ("unknown chunk", [identifier.clone(), chunk(0x02, &[b"x"])].concat()),
            ("last unskippable chunk", [identifier.clone(), chunk(0x7f, &[b"x"])].concat()),
            ("wrong checksum", [identifier.clone(), chunk(UNCOMPRESSED, &[&[0; 4], b"ab"])].concat()),
            ("no checksum", [identifier.clone(), chunk(UNCOMPRESSED, &[&[0; 3]])].concat()),
            ("no block length", [identifier.clone(), chunk(COMPRESSED, &[&[0; 4]])].concat()),
            ("cut header", [identifier, vec![0, 0]].concat()),
        ];
        for (case, stream) in cases {
            assert!(decode(&stream, ANY).is_err(), "{case}");
        }
    }

    #[test]
    fn a_claimed_block_length_is_not_believed() {
        let input = testdata::lines(1000);
        let identifier = chunk(STREAM_IDENTIFIER, &[MAGIC]);
        // 4 MiB claimed, nothing there.
        let block = [0x80, 0x80, 0x80, 0x02];
        let stream = [identifier, chunk(COMPRESSED, &[&[0; 4], &block])].concat();
        assert_eq!(decode(&stream, Length::AtMost(1000)), Err(too_long(Length::AtMost(1000))));
        assert!(decode(&stream, ANY).is_err());
        assert!(decode(&encoded(&input), Length::AtMost(999)).is_err());
        assert_eq!(decode(&encoded(&input), Length::AtMost(1000)), Ok(input));
    }
}
