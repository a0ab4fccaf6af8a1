//! The layers of `src/lib.rs`: a module uses only what lies below it. And files stay of a size that can be read.

use std::fs;
use std::path::{Path, PathBuf};

/// Each line may use the lines above it, and no module of its own.
const LAYERS: &[&[&str]] = &[
    &["bytes", "clock", "durable", "error", "json", "sync"],
    &["blob"],
    &["format"],
    &["content"],
    &["object", "manifest"],
    &["repo"],
    &["policy"],
    &["snapshot"],
    &["mounting"],
];

/// Longer files, and why that is right.
const LONG_FILES: &[(&str, &str)] = &[];
const LONG: usize = 600;

#[test]
fn modules_use_only_what_lies_below() {
    let mut wrong = Vec::new();
    for path in sources("src") {
        let Some(module) = module_of(&path).filter(|module| module != "cli") else { continue };
        for used in used_modules(&fs::read_to_string(&path).unwrap()) {
            if !may_use(&module, &used) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_has_a_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(matches!(module, "cli" | "lib" | "main") || level(module).is_some(), "{module} is in no layer");
    }
}

#[test]
fn leaves_know_nothing_of_the_root() {
    for leaf in ["cache", "mount"] {
        let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(leaf).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("path = \"..\""), "{leaf} depends on the root");
    }
}

#[test]
fn files_are_not_too_long() {
    for directory in ["src", "cache/src", "mount/src", "integration", "tests"] {
        for path in sources(directory) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            let explained = LONG_FILES.iter().any(|(name, _)| path.ends_with(name));
            assert!(lines <= LONG || explained, "{} has {lines} lines: split it, or say why not", path.display());
        }
    }
}

fn level(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn may_use(module: &str, used: &str) -> bool {
    let (Some(from), Some(to)) = (level(module), level(used)) else { return true };
    module == used || to < from
}

/// The top module that a file of `src` belongs to.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// Every `crate::name` in a text.
fn used_modules(text: &str) -> Vec<String> {
    text.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect()
}

fn sources(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}
