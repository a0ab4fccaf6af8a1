//! Patterns of ignore rules: their syntax, and matching them.
//!
//! Format page 22 §3.2. A pattern is compiled into tokens that are matched against the characters of a path, which starts with `/`
//! at the directory that holds the pattern. Two points are not as in other programs: a character class can match `/`, as
//! `a[!X]b` does in `a/b`, so paths cannot be matched component by component; and `[:alpha:]` and its like know only ASCII.
//!
//! Matching keeps the set of positions in the path that the tokens so far can lead to. Its cost is bounded by the length of the
//! pattern times that of the path, whatever the pattern. Most patterns end in plain characters, so most paths are refused by a
//! look at their end.
//!
//! Names need not be UTF-8: each invalid byte is matched as U+FFFD, which is also what it becomes in a pattern.

use super::PatternProblem;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    /// The plain characters that the pattern ends in.
    suffix: Vec<char>,
    /// Starts with `!`: what it matches is not ignored.
    pub(super) negated: bool,
    directories_only: bool,
}

#[derive(Debug)]
enum Token {
    Character(char),
    /// `?`
    AnyCharacter,
    /// `[…]`
    Class {
        negated: bool,
        members: Vec<Member>,
    },
    /// `*`
    AnyName,
    /// `**/`: any number of directories, at the start of a component.
    AnyDirectories,
    /// `**` at the end.
    Anything,
}

#[derive(Debug)]
enum Member {
    Range(char, char),
    Named(fn(char) -> bool),
}

impl Pattern {
    /// Compiles one entry of a policy's list, or one line of an ignore file.
    pub(super) fn parse(text: &str) -> Result<Self, PatternProblem> {
        let text = trim(text);
        let (negated, text) = match text.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (directories_only, text) = match text.strip_suffix('/') {
            Some(text) if !ends_in_escape(text) => (true, text),
            _ => (false, text),
        };
        let characters: Vec<char> = text.strip_prefix('/').unwrap_or(text).chars().collect();
        let mut tokens = Vec::with_capacity(characters.len() + 2);
        tokens.push(Token::Character('/'));
        if !text.contains('/') {
            tokens.push(Token::AnyDirectories);
        }
        parse_tokens(&characters, &mut tokens)?;
        let mut suffix: Vec<char> = tokens.iter().rev().map_while(Token::plain).collect();
        suffix.reverse();
        Ok(Self { tokens, suffix, negated, directories_only })
    }

    /// Whether the entry of this path is one that the pattern is about.
    pub(super) fn matches(&self, path: &[char], is_directory: bool) -> bool {
        if (self.directories_only && !is_directory) || !path.ends_with(&self.suffix) {
            return false;
        }
        let mut positions = vec![0];
        for token in &self.tokens {
            token.advance(path, &mut positions);
            if positions.is_empty() {
                return false;
            }
        }
        positions.last() == Some(&path.len())
    }
}

impl Token {
    fn plain(&self) -> Option<char> {
        match self {
            Token::Character(character) => Some(*character),
            _ => None,
        }
    }

    /// Replaces positions, which ascend, by those that the token leads to from any of them.
    fn advance(&self, path: &[char], positions: &mut Vec<usize>) {
        match self {
            Token::Character(expected) => step(path, positions, |character| character == *expected),
            Token::AnyCharacter => step(path, positions, |character| character != '/'),
            Token::Class { negated, members } => {
                step(path, positions, |character| members.iter().any(|member| member.has(character)) != *negated);
            }
            Token::AnyName => {
                for start in std::mem::take(positions) {
                    // A position already reached lies in a name whose rest has been reached with it.
                    if positions.last().is_some_and(|reached| start <= *reached) {
                        continue;
                    }
                    let name = path.iter().skip(start).take_while(|character| **character != '/').count();
                    positions.extend(start..=start + name);
                }
            }
            Token::AnyDirectories => {
                // Every position is at the start of a component here, so all of them are among those after the first.
                positions.truncate(1);
                let first = positions.first().copied().unwrap_or_default();
                let slashes = path.iter().enumerate().skip(first).filter(|(_, character)| **character == '/');
                positions.extend(slashes.map(|(slash, _)| slash + 1));
            }
            Token::Anything => {
                positions.clear();
                positions.push(path.len());
            }
        }
    }
}

fn step(path: &[char], positions: &mut Vec<usize>, accepts: impl Fn(char) -> bool) {
    positions.retain_mut(|position| {
        let character = path.get(*position);
        *position += 1;
        character.is_some_and(|character| accepts(*character))
    });
}

impl Member {
    fn has(&self, character: char) -> bool {
        match self {
            Member::Range(first, last) => (*first..=*last).contains(&character),
            Member::Named(has) => has(character),
        }
    }
}

/// The characters of a name or a path; an invalid byte becomes U+FFFD.
pub(super) fn characters(bytes: &[u8]) -> impl Iterator<Item = char> {
    bytes.utf8_chunks().flat_map(|chunk| {
        chunk.valid().chars().chain(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()))
    })
}

/// Drops the whitespace around a pattern, except where its end is escaped; one of two characters keeps its second.
fn trim(text: &str) -> &str {
    let mut from_end = text.chars().rev().skip(1);
    let escaped = from_end.next() == Some('\\');
    let longer_than_two = from_end.next().is_some();
    if longer_than_two && !escaped { text.trim() } else { text.trim_start() }
}

fn ends_in_escape(text: &str) -> bool {
    text.chars().rev().take_while(|character| *character == '\\').count() % 2 == 1
}

fn parse_tokens(mut rest: &[char], tokens: &mut Vec<Token>) -> Result<(), PatternProblem> {
    let mut component_start = true;
    loop {
        let (token, after) = match rest {
            [] => return Ok(()),
            ['*', '*', '/', after @ ..] if component_start => {
                tokens.push(Token::AnyDirectories);
                rest = after;
                continue;
            }
            ['*', '*'] if component_start => (Token::Anything, &[][..]),
            ['*', after @ ..] => (Token::AnyName, after),
            ['?', after @ ..] => (Token::AnyCharacter, after),
            ['[', after @ ..] => parse_class(after)?,
            ['\\'] => return Err(PatternProblem::TrailingBackslash),
            ['\\', character, after @ ..] | [character, after @ ..] => (Token::Character(*character), after),
        };
        component_start = rest.first() == Some(&'/');
        tokens.push(token);
        rest = after;
    }
}

/// Reads a class from behind its `[`. A `]` that comes first is a member.
fn parse_class(mut rest: &[char]) -> Result<(Token, &[char]), PatternProblem> {
    let negated = rest.first() == Some(&'!');
    if negated {
        rest = rest.get(1..).unwrap_or_default();
    }
    let mut members = Vec::new();
    loop {
        rest = match rest {
            [] => return Err(PatternProblem::MissingBracket),
            [']', after @ ..] if !members.is_empty() => return Ok((Token::Class { negated, members }, after)),
            ['[', ':', after @ ..] if let Some((name, after)) = class_name(after) => {
                members.push(Member::Named(named_class(&name).ok_or(PatternProblem::UnknownClass(name))?));
                after
            }
            _ => {
                let (first, after) = parse_member(rest)?;
                match after {
                    ['-', end @ ..] if !matches!(end, [] | [']', ..]) => {
                        let (last, after) = parse_member(end)?;
                        members.push(Member::Range(first, last));
                        after
                    }
                    _ => {
                        members.push(Member::Range(first, first));
                        after
                    }
                }
            }
        };
    }
}

fn parse_member(rest: &[char]) -> Result<(char, &[char]), PatternProblem> {
    match rest {
        [] => Err(PatternProblem::MissingBracket),
        ['\\'] => Err(PatternProblem::TrailingBackslash),
        ['\\', character, after @ ..] | [character, after @ ..] => Ok((*character, after)),
    }
}

/// What stands before the next `:]`, and what follows it, unless the next `]` is not that of one.
fn class_name(rest: &[char]) -> Option<(String, &[char])> {
    let bracket = rest.iter().position(|character| *character == ']')?;
    let (name, after) = rest.split_at_checked(bracket)?;
    let name = name.strip_suffix(&[':'])?;
    Some((name.iter().collect(), after.get(1..)?))
}

fn named_class(name: &str) -> Option<fn(char) -> bool> {
    Some(match name {
        "alnum" => |c| c.is_ascii_alphanumeric(),
        "alpha" => |c| c.is_ascii_alphabetic(),
        "ascii" => |c| c.is_ascii(),
        "blank" => |c| matches!(c, ' ' | '\t'),
        "cntrl" => |c| c.is_ascii_control(),
        "digit" => |c| c.is_ascii_digit(),
        "graph" => |c| c.is_ascii_graphic(),
        "lower" => |c| c.is_ascii_lowercase(),
        "print" => |c| c.is_ascii_graphic() || c == ' ',
        "punct" => |c| c.is_ascii_punctuation(),
        "space" => |c| matches!(c, ' ' | '\t'..='\r'),
        "upper" => |c| c.is_ascii_uppercase(),
        "xdigit" => |c| c.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
