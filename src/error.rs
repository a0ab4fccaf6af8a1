//! Errors as text.

use std::error::Error;

/// An error and its causes in one line, `: ` between them. A cause that the text before it already ends in is left
/// out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Same(#[from] Outer);

    #[test]
    fn causes_are_told_once() {
        let error = Same(Outer(std::io::Error::other("inner")));
        assert_eq!(chain(&error), "outer: inner");
    }
}
