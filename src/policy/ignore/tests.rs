use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    Pattern::parse(pattern).unwrap().matches(&path, false)
}

fn problem(pattern: &str) -> PatternProblem {
    Pattern::parse(pattern).unwrap_err()
}

#[test]
fn whitespace_around_a_pattern() {
    assert!(matches("  a.txt", "/a.txt"));
    assert!(matches("a.txt \t", "/a.txt"));
    assert!(matches("a b", "/a b"));
    assert!(matches("abc\\ ", "/abc "));
    // One of two characters is not trimmed at its end.
    assert!(matches("a ", "/a "));
    assert!(matches(" a", "/a"));
}

#[test]
fn two_stars_are_special_only_as_a_component() {
    assert!(matches("a/**/b", "/a/b"));
    assert!(matches("a/**/b", "/a/x/y/b"));
    assert!(!matches("a/**/b", "/a/xb"));
    assert!(!matches("a/**b", "/a/x/b"));
    assert!(matches("a/**b", "/a/xb"));
    assert!(!matches("a**/b", "/ax/y/b"));
    assert!(matches("/**", "/a/b"));
    assert!(matches("**/**/b", "/b"));
    assert!(!matches("a/**", "/a"));
    assert!(matches("***", "/a/b"));
}

#[test]
fn directories_only() {
    let pattern = Pattern::parse("**/").unwrap();
    assert!(pattern.matches(&['/', 'a'], true));
    assert!(!pattern.matches(&['/', 'a'], false));
    assert!(Pattern::parse("a/**/").unwrap().matches(&['/', 'a', '/', 'b'], true));
}

#[test]
fn classes() {
    assert!(matches("[a-c]x", "/bx"));
    assert!(!matches("[!a-c]x", "/bx"));
    assert!(matches("[]x]", "/]"));
    assert!(matches("[!]x]", "/a"));
    assert!(matches("[a-]", "/-"));
    assert!(matches("[-a]", "/-"));
    assert!(matches("[\\]]", "/]"));
    assert!(matches("[a\\-c]", "/-"));
    assert!(!matches("[a\\-c]", "/b"));
    assert!(!matches("[c-a]", "/b"));
    assert!(matches("[[:digit:][:upper:]_]", "/Q"));
    assert!(matches("[[:digit:][:upper:]_]", "/_"));
    assert!(!matches("[[:digit:]]", "/d"));
    assert!(matches("[[:]", "/:"));
    assert!(matches("[^a]", "/^"));
}

#[test]
fn every_named_class_is_known() {
    let members = [
        ("alnum", "aZ9", "_ é"),
        ("alpha", "aZ", "9é"),
        ("ascii", "a\u{7f}", "é"),
        ("blank", " \t", "\n"),
        ("cntrl", "\u{1}\u{7f}", "a"),
        ("digit", "09", "a"),
        ("graph", "a!", " "),
        ("lower", "a", "A"),
        ("print", "a ", "\u{1}"),
        ("punct", "!_", "a"),
        ("space", " \t\n\u{b}\u{c}\r", "a"),
        ("upper", "A", "a"),
        ("xdigit", "09afAF", "g"),
    ];
    for (name, inside, outside) in members {
        let class = named_class(name).unwrap();
        assert!(inside.chars().all(class), "{name}");
        assert!(!outside.chars().any(class), "{name}");
    }
}

#[test]
fn class_can_match_a_separator() {
    assert!(matches("a[!X]b", "/a/b"));
    assert!(!matches("a?b", "/a/b"));
    // Needs the first star to give up what it could have taken.
    assert!(matches("/*[!X]c*d", "/aac/cd"));
}

#[test]
fn malformed_patterns() {
    assert_eq!(problem("a\\"), PatternProblem::TrailingBackslash);
    assert_eq!(problem("[a\\"), PatternProblem::TrailingBackslash);
    assert_eq!(problem("[a"), PatternProblem::MissingBracket);
    assert_eq!(problem("["), PatternProblem::MissingBracket);
    assert_eq!(problem("[]"), PatternProblem::MissingBracket);
    assert_eq!(problem("[[:odd:]]"), PatternProblem::UnknownClass("odd".into()));
}

#[test]
fn invalid_bytes_are_one_replacement_character_each() {
    let text: String = characters(b"a\xe2\x82\x41\xff").collect();
    assert_eq!(text, "a\u{fffd}\u{fffd}A\u{fffd}");
    let path: Vec<char> = characters(b"/a\xff\xfe").collect();
    assert!(Pattern::parse("a??").unwrap().matches(&path, false));
}

#[test]
fn many_stars_cost_little() {
    let path: Vec<char> = std::iter::once('/').chain(std::iter::repeat_n('a', 4000)).collect();
    assert!(!Pattern::parse(&format!("{}b?", "*a".repeat(30))).unwrap().matches(&path, false));
}

/// Matches one token after the other, trying every length.
fn naive(tokens: &[Token], path: &[char]) -> bool {
    let Some((token, tokens)) = tokens.split_first() else { return path.is_empty() };
    (0..=path.len()).any(|length| {
        let (taken, rest) = path.split_at(length);
        let fits = match (token, taken) {
            (Token::Character(expected), [character]) => expected == character,
            (Token::AnyCharacter, [character]) => *character != '/',
            (Token::Class { negated, members }, [character]) => members.iter().any(|m| m.has(*character)) != *negated,
            (Token::AnyName, _) => !taken.contains(&'/'),
            (Token::AnyDirectories, _) => taken.is_empty() || taken.ends_with(&['/']),
            (Token::Anything, _) => true,
            _ => false,
        };
        fits && naive(tokens, rest)
    })
}

proptest! {
    #[test]
    fn nothing_panics(pattern in ".{0,12}", special in "[\\[\\]!^:a\\-\\\\*?/ ]{0,16}", path in any::<Vec<u8>>(), directory: bool) {
        let path: Vec<char> = characters(&path).collect();
        for text in [pattern, special] {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&path, directory);
            }
        }
    }

    #[test]
    fn positions_find_what_trying_everything_finds(pattern in "(a|b|/|\\?|\\*|\\*\\*/|/\\*\\*|\\[!a\\]|\\[ab\\]){1,7}", path in "(/[abc]{1,3}){1,4}") {
        let pattern = Pattern::parse(&pattern).unwrap();
        let path: Vec<char> = path.chars().collect();
        prop_assert_eq!(pattern.matches(&path, true), naive(&pattern.tokens, &path));
    }

    #[test]
    fn an_escaped_name_matches_itself(name in "[^/]{1,8}") {
        let escaped: String = name.chars().flat_map(|character| ['\\', character]).collect();
        let pattern = Pattern::parse(&escaped).unwrap();
        let path: Vec<char> = format!("/x/{name}").chars().collect();
        prop_assert!(pattern.matches(&path, false));
    }
}
