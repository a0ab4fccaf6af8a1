//! Every parser over its corpus, and over damage of every kind done to it. A binary of its own, because it counts the
//! memory that the parsers ask for.
//!
//! The corpus is `tests/data/corpus/PARSER/`: files made by the example `corpus`, and `found-…`, on which something was
//! once wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod damage;
mod dense;
mod memory;
#[path = "../fuzz/parsers.rs"]
mod parsers;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use parsers::{PARSERS, Parser};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

#[test]
fn corpus() {
    for parser in PARSERS {
        for (file, input) in files_of(parser) {
            check(parser, &file, &input);
        }
    }
}

#[test]
fn damaged_corpus() {
    for parser in PARSERS {
        for (file, input) in files_of(parser) {
            for (damage, input) in damage::of(&input) {
                check(parser, &format!("{file}, {damage}"), &input);
            }
        }
    }
}

/// As much as possible in few bytes.
#[test]
fn dense_inputs() {
    for parser in PARSERS {
        for (number, input) in dense::inputs(parser.name).into_iter().enumerate() {
            check(parser, &format!("dense input {number}"), &input);
        }
    }
}

#[test]
fn every_corpus_and_every_target_has_its_parser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let names = |directory: &str| {
        let entries = fs::read_dir(root.join(directory)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".rs").to_owned())
            .collect();
        names.sort();
        names
    };
    let parsers: Vec<&str> = PARSERS.iter().map(|parser| parser.name).collect();
    assert_eq!(names("data/corpus"), parsers);
    assert_eq!(names("fuzz/targets"), parsers);
    let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    for name in parsers {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is not a target");
    }
}

/// The corpus of a parser: names and bytes.
fn files_of(parser: &Parser) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/corpus").join(parser.name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn check(parser: &Parser, what: &str, input: &[u8]) {
    let (result, peak) = memory::peak_of(|| catch_unwind(|| (parser.check)(input)));
    let name = parser.name;
    let shown = input.get(..2000).unwrap_or(input).escape_ascii();
    assert!(result.is_ok(), "{name}: {what}, of {} bytes: {shown}", input.len());
    let limit = input.len() * parser.factor + parser.constant;
    assert!(
        peak <= limit,
        "{name}: {what}: {} bytes made it ask for {peak}, not at most {limit}: {shown}",
        input.len()
    );
}
