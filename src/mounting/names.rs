//! The names of what lies above the snapshots' own trees: kopia's (format page 25 §6), made distinct everywhere.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::snapshot::manifest::Snapshot;

/// The name of the root directory as a source.
const ROOT: &str = "__root";

/// A path, or `user@host`, as one name.
pub(super) fn safe(path: &str) -> String {
    if path == "/" {
        return ROOT.to_owned();
    }
    let name = path.replace(":/", "_").replace(":\\", "_");
    let name = name.trim_start_matches('/').replace(['/', '\\'], "_");
    let name = name.trim_end_matches('_').trim_end_matches(':');
    match name {
        "" => ROOT.to_owned(),
        "." | ".." => format!("_{name}"),
        name => name.to_owned(),
    }
}

/// When it was begun, in UTC, and why it is incomplete, if it is.
pub(super) fn of_snapshot(snapshot: &Snapshot) -> String {
    let start = snapshot.start_time.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
    match snapshot.incomplete {
        Some(reason) => format!("{start} ({})", reason.name()),
        None => start.to_string(),
    }
}

/// Makes names differ, also where upper and lower case do not count: the second of a name gets ` (2)`, the third
/// ` (3)`, and so on, again until there are no two alike.
pub(super) fn distinct(mut names: Vec<String>) -> Vec<String> {
    loop {
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut changed = false;
        for name in &mut names {
            let count = seen.entry(name.to_lowercase()).or_default();
            *count += 1;
            if *count > 1 {
                *name = format!("{name} ({count})");
                changed = true;
            }
        }
        if !changed {
            return names;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names() {
        let expected = [
            ("/", "__root"),
            ("/a", "a"),
            ("/a/b", "a_b"),
            ("/a/b_", "a_b"),
            ("C:\\Users\\x", "C_Users_x"),
            ("C:/Users/x", "C_Users_x"),
            ("c:\\", "c"),
            ("D:", "D"),
            ("//srv/share", "srv_share"),
            ("/x:/y", "x_y"),
            ("user@host", "user@host"),
            ("/trail/", "trail"),
            ("//", "__root"),
            ("/..", "_.."),
        ];
        for (path, name) in expected {
            assert_eq!(safe(path), name, "{path}");
        }
    }

    /// Kopia gives the names in the order of the originals.
    #[test]
    fn names_are_distinct() {
        let names = |originals: &[&str]| distinct(originals.iter().map(|path| safe(path)).collect());
        assert_eq!(names(&["/a/b", "/a/b_", "/a_b"]), ["a_b", "a_b (2)", "a_b (3)"]);
        assert_eq!(names(&["/A", "/a"]), ["A", "a (2)"]);
        assert_eq!(names(&["/X", "/x", "/x (2)"]), ["X", "x (2)", "x (2) (2)"]);
    }
}
