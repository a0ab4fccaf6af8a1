use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::Deserialize;

use super::super::{FilesPolicy, SourceInfo};
use super::*;

#[derive(Deserialize)]
struct Vectors {
    files: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    pattern: String,
    kept: Vec<String>,
}

fn target(text: &str) -> SourceInfo {
    SourceInfo::parse(text, "h", "u", "/").unwrap()
}

fn policies(of: &[(&str, FilesPolicy)]) -> PolicyTree {
    let stored: Vec<_> =
        of.iter().map(|(path, files)| (target(path), Policy { files: files.clone(), ..Policy::default() })).collect();
    PolicyTree::for_source(&target("u@h:/"), &stored)
}

fn ignoring(patterns: &[&str]) -> FilesPolicy {
    FilesPolicy { ignore: patterns.iter().map(ToString::to_string).collect(), ..FilesPolicy::default() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// The files that a walk reaches, of those that a source is made of and the files with rules among them.
fn kept(policies: &PolicyTree, files: &[&str], rules: &[(&str, &str)]) -> Vec<String> {
    let all: Vec<&str> = files.iter().copied().chain(rules.iter().map(|(path, _)| *path)).collect();
    let mut kept = Vec::new();
    walk(None, "", policies, &all, rules, &mut kept);
    kept.retain(|path| files.contains(&path.as_str()));
    kept.sort();
    kept
}

fn walk(
    parent: Option<&Arc<IgnoreContext>>,
    directory: &str,
    policy: &PolicyTree,
    files: &[&str],
    rules: &[(&str, &str)],
    kept: &mut Vec<String>,
) {
    let inside = |name: &str| if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") };
    let dot_files: Vec<_> = IgnoreContext::dot_file_names(parent, policy)
        .iter()
        .filter_map(|name| {
            let (_, contents) = rules.iter().find(|(path, _)| *path == inside(name))?;
            Some((name.as_str(), contents.as_bytes().to_vec()))
        })
        .collect();
    let context = IgnoreContext::for_directory(parent, directory.as_bytes(), policy, &dot_files).unwrap();
    let below = inside("");
    let entries: BTreeSet<_> = files
        .iter()
        .filter_map(|path| path.strip_prefix(&below))
        .map(|rest| rest.split_once('/').map_or((rest, false), |(name, _)| (name, true)))
        .collect();
    for (name, is_directory) in entries {
        if context.ignores(directory.as_bytes(), name.as_bytes(), is_directory) {
            continue;
        }
        if is_directory {
            walk(Some(&context), &inside(name), &policy.child(name.as_bytes()), files, rules, kept);
        } else {
            kept.push(inside(name));
        }
    }
}

#[test]
fn leaves_out_what_kopia_leaves_out() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/samples/ignore-vectors.json"));
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.cases.len(), 49);
    let files: Vec<&str> = vectors.files.iter().map(String::as_str).collect();
    for case in vectors.cases {
        let by_file = kept(&policies(&[]), &files, &[(".kopiaignore", &case.pattern)]);
        assert_eq!(by_file, case.kept, "{:?} in a file", case.pattern);
        let by_policy = kept(&policies(&[("u@h:/", ignoring(&[&case.pattern]))]), &files, &[]);
        assert_eq!(by_policy, case.kept, "{:?} in a policy", case.pattern);
    }
}

#[test]
fn later_rules_take_back() {
    let files = ["keep.txt", "a.txt", "b/keep.txt", "c/keep.txt"];
    let rules = [(".kopiaignore", "# all but one\n*.txt\n\n!keep.txt\r\n  \nc/\n!c/keep.txt\n")];
    assert_eq!(kept(&policies(&[]), &files, &rules), ["b/keep.txt", "keep.txt"]);
}

#[test]
fn negated_directory_rule_leaves_files_ignored() {
    let rules = [(".kopiaignore", "a*\n!a*/\n")];
    assert_eq!(kept(&policies(&[]), &["a1", "a2/f"], &rules), ["a2/f"]);
}

#[test]
fn files_below_add_rules_of_their_own() {
    let files = ["f.txt", "g.txt", "sub/f.txt", "sub/g.txt", "sub/deep/g.txt"];
    let rules = [(".kopiaignore", "f.txt"), ("sub/.kopiaignore", "!f.txt\n/g.txt")];
    assert_eq!(kept(&policies(&[]), &files, &rules), ["g.txt", "sub/deep/g.txt", "sub/f.txt"]);
}

#[test]
fn policy_rules_come_before_those_of_files() {
    let policies = policies(&[("u@h:/", ignoring(&["*.o", "!a.o"]))]);
    assert_eq!(kept(&policies, &["a.o", "b.o", "c.o"], &[(".kopiaignore", "a.o\n!c.o")]), ["c.o"]);
}

#[test]
fn no_parent_ignore_has_no_effect_on_rules_above() {
    let files = FilesPolicy { no_parent_ignore: true, ..ignoring(&["y"]) };
    let policies = policies(&[("u@h:/", ignoring(&["x"])), ("u@h:/d", files)]);
    assert_eq!(kept(&policies, &["d/x", "d/y", "d/z", "y"], &[]), ["d/z", "y"]);
}

#[test]
fn names_of_files_with_rules_add_up() {
    let own = |no_parent_dot_files| FilesPolicy {
        ignore_dot_files: vec![".own".into()],
        no_parent_dot_files,
        ..FilesPolicy::default()
    };
    let names_below = |files: FilesPolicy| {
        let policies = policies(&[("u@h:/d", files)]);
        let root = IgnoreContext::for_directory(None, b"", &policies, &[]).unwrap();
        let directory = policies.child(b"d");
        let at = IgnoreContext::dot_file_names(Some(&root), &directory).to_vec();
        let context = IgnoreContext::for_directory(Some(&root), b"d", &directory, &[]).unwrap();
        (at, IgnoreContext::dot_file_names(Some(&context), &directory.child(b"e")).to_vec())
    };
    assert_eq!(names_below(own(false)), (names(&[".own"]), names(&[".kopiaignore", ".own"])));
    assert_eq!(names_below(own(true)), (names(&[".own"]), names(&[".own"])));
    assert_eq!(names_below(FilesPolicy::default()), (names(&[]), names(&[".kopiaignore"])));
}

#[test]
fn sizes_are_inherited_and_file_systems_are_not() {
    let root = FilesPolicy { max_file_size: 10, one_file_system: Some(true), ..FilesPolicy::default() };
    let policies = policies(&[
        ("u@h:/", root),
        ("u@h:/d", FilesPolicy::default()),
        ("u@h:/e", FilesPolicy { max_file_size: 5, ..FilesPolicy::default() }),
    ]);
    let context = IgnoreContext::for_directory(None, b"", &policies, &[]).unwrap();
    assert_eq!((context.max_file_size(), context.one_file_system()), (Some(10), true));
    let at = |name: &[u8]| {
        let context = IgnoreContext::for_directory(Some(&context), name, &policies.child(name), &[]).unwrap();
        (context.max_file_size(), context.one_file_system())
    };
    assert_eq!(at(b"d"), (Some(10), false));
    assert_eq!(at(b"e"), (Some(5), false));
    assert_eq!(at(b"f"), (Some(10), true));
}

#[test]
fn directories_without_rules_share_the_context_above() {
    let policies = policies(&[]);
    let root = IgnoreContext::for_directory(None, b"", &policies, &[]).unwrap();
    let child = IgnoreContext::for_directory(Some(&root), b"a", &policies.child(b"a"), &[]).unwrap();
    assert!(Arc::ptr_eq(&root, &child));
    assert!(!child.ignores(b"a", b"x", false));
}

#[test]
fn bad_patterns_name_their_place() {
    let message = |directory: &[u8], policies: &PolicyTree, dot_files: &[(&str, Vec<u8>)]| {
        IgnoreContext::for_directory(None, directory, policies, dot_files).unwrap_err().to_string()
    };
    assert_eq!(
        message(b"a/b", &policies(&[]), &[(".kopiaignore", b"# fine\nx\n  y[ \n".to_vec())]),
        "invalid ignore pattern \"  y[ \" in /a/b/.kopiaignore, line 3: missing ]"
    );
    assert_eq!(
        message(b"", &policies(&[]), &[(".kopiaignore", b"[[:x:]]".to_vec())]),
        "invalid ignore pattern \"[[:x:]]\" in /.kopiaignore, line 1: unknown character class [:x:]"
    );
    assert_eq!(
        message(b"", &policies(&[("u@h:/", ignoring(&["a", "b\\"]))]), &[]),
        "invalid ignore pattern \"b\\\\\" in the policy of /, line 2: trailing backslash"
    );
}

#[test]
fn names_that_are_not_utf8() {
    let policies = policies(&[]);
    let rules = [(".kopiaignore", b"\xe9?\n".to_vec())];
    let context = IgnoreContext::for_directory(None, b"\xff\xfe", &policies, &rules).unwrap();
    assert!(context.ignores(b"\xff\xfe", b"\xe8a", false));
    assert!(context.ignores(b"\xff\xfe/\xfe", b"\xe8\xe8", false));
    assert!(!context.ignores(b"\xff\xfe", b"ea", false));
}

proptest! {
    #[test]
    fn nothing_panics(rules in any::<Vec<u8>>(), base in any::<Vec<u8>>(), directory in any::<Vec<u8>>(), name in any::<Vec<u8>>()) {
        if let Ok(context) = IgnoreContext::for_directory(None, &base, &policies(&[]), &[("rules", rules)]) {
            context.ignores(&directory, &name, true);
        }
    }
}
