//! From what a user types to an entry: ids, paths in them, and times (format page 25 §1, §2).

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::directory::Directory;
use super::entry::{Entry, Kind, Name};
use super::manifest::{self, Snapshot};
use super::{SnapshotError, labels_of_all};
use crate::content::Reader;
use crate::content::id::Prefix;
use crate::manifest::ManifestSet;
use crate::object::{Object, ObjectId};
use crate::policy::SourceInfo;

/// The entry that `ID[/path]` names. ID is that of a snapshot's manifest, of its root object, or of any object.
pub async fn object_path(contents: &Reader, manifests: &ManifestSet, text: &str) -> Result<Entry, SnapshotError> {
    let mut elements = text.split('/');
    let first = elements.next().unwrap_or_default();
    let root = root_entry(contents, manifests, first).await?;
    let path: Vec<&str> = elements.filter(|element| !element.is_empty()).collect();
    descend(contents, root, &path).await
}

/// Whether `ID[/path]` begins with an id, rather than being a path of the file system.
pub fn is_object_path(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    first.parse::<ObjectId>().is_ok()
}

async fn root_entry(contents: &Reader, manifests: &ManifestSet, id: &str) -> Result<Entry, SnapshotError> {
    let snapshots = || manifest::find(manifests, &labels_of_all()).0;
    if let Some(manifest) = id.parse().ok().and_then(|id| manifests.get(id)).filter(|m| m.kind() == manifest::KIND) {
        let root = Snapshot::parse(manifest)?.root_entry;
        return root.ok_or_else(|| SnapshotError::NotFound(format!("snapshot {id} has no root")));
    }
    let Ok(object) = id.parse::<ObjectId>() else {
        return Err(SnapshotError::NotFound(format!("{id:?} is neither a snapshot nor an object")));
    };
    // The newest snapshot with this root knows its attributes.
    let of_root = |s: Snapshot| s.root_entry.filter(|root| root.object == object);
    match snapshots().into_iter().rev().find_map(of_root) {
        Some(root) => Ok(root),
        None => bare_entry(contents, object).await,
    }
}

/// What is known of an object without any entry.
async fn bare_entry(contents: &Reader, object: ObjectId) -> Result<Entry, SnapshotError> {
    let is_directory = object.content.prefix() == Prefix::DIRECTORY;
    let size = if is_directory { 0 } else { Object::open(contents, object).await?.len() };
    let (name, kind, mode) = if is_directory { ("/", Kind::Directory, 0o555) } else { ("file", Kind::File, 0o644) };
    Ok(Entry {
        name: Name::from(name),
        kind,
        mode,
        size,
        mtime: Timestamp::UNIX_EPOCH,
        uid: 0,
        gid: 0,
        object,
        summary: None,
        rare: None,
    })
}

/// The entry below `root` by its names.
pub async fn descend(contents: &Reader, root: Entry, path: &[&str]) -> Result<Entry, SnapshotError> {
    let mut entry = root;
    for (depth, name) in path.iter().enumerate() {
        let missing =
            || SnapshotError::NotFound(format!("there is no {:?}", path.get(..=depth).unwrap_or_default().join("/")));
        if !entry.kind.is_directory() {
            return Err(missing());
        }
        let directory = Directory::read(contents, entry.object).await?;
        entry = directory.find(name.as_bytes()).cloned().ok_or_else(missing)?;
    }
    Ok(entry)
}

/// A path of the file system as it was in a snapshot.
#[derive(Debug)]
pub struct FoundPath {
    pub snapshot: Snapshot,
    /// From the snapshot's root to the path.
    pub relative: String,
    pub entry: Entry,
}

/// The state of a path at some time, from the snapshots of the path itself and of the directories above.
pub async fn path_at(
    contents: &Reader,
    manifests: &ManifestSet,
    source: &SourceInfo,
    time: &SnapshotTime,
    now: &Zoned,
) -> Result<FoundPath, SnapshotError> {
    let (all, _) = manifest::find(manifests, &labels_of_all());
    let mut candidates: Vec<(Snapshot, String)> = all
        .into_iter()
        .filter(|s| s.is_complete() && (&s.source.host, &s.source.user_name) == (&source.host, &source.user_name))
        .filter_map(|s| Some((path_below(&s.source.path, &source.path)?, s)))
        .map(|(relative, s)| (s, relative))
        .collect();
    candidates.sort_by_key(|(s, _)| std::cmp::Reverse(s.start_time));
    if *time == SnapshotTime::Oldest {
        candidates.reverse();
    }
    let before = time.before(now)?;
    for (snapshot, relative) in candidates {
        if before.is_some_and(|before| snapshot.start_time >= before) {
            continue;
        }
        let Some(root) = snapshot.root_entry.clone() else { continue };
        let path: Vec<&str> = relative.split('/').filter(|element| !element.is_empty()).collect();
        match descend(contents, root, &path).await {
            Ok(entry) => return Ok(FoundPath { snapshot, relative, entry }),
            Err(SnapshotError::NotFound(_)) => {}
            Err(e) => return Err(e),
        }
    }
    Err(SnapshotError::NotFound(format!("no snapshot holds {source}")))
}

/// The path relative to a directory that it is below or the same as.
pub fn path_below(source: &str, path: &str) -> Option<String> {
    let rest = path.strip_prefix(source.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/').to_owned())
}

/// Which of several snapshots: the argument of `--snapshot-time`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotTime {
    Latest,
    Oldest,
    Yesterday,
    LastMonth,
    LastYear,
    /// Before the end of the day so long ago.
    Ago {
        years: i16,
        months: i32,
        days: i32,
    },
    /// Before the end of the second, minute, hour, day, month or year named; without a zone in the local one.
    At {
        start: DateTime,
        precision: Precision,
        zone: Option<TimeZone>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a time: use latest, oldest, yesterday, last-month, last-year, 3d-ago, 1y-2mo-ago, or a date such as \
     2026-11-21 or 2026-11-21T10:30"
)]
pub struct InvalidSnapshotTime(pub String);

impl std::str::FromStr for SnapshotTime {
    type Err = InvalidSnapshotTime;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshotTime> {
        match text {
            "latest" => Ok(Self::Latest),
            "oldest" => Ok(Self::Oldest),
            "yesterday" => Ok(Self::Yesterday),
            "last-month" => Ok(Self::LastMonth),
            "last-year" => Ok(Self::LastYear),
            _ => parse_ago(text).or_else(|| parse_at(text)).ok_or_else(|| InvalidSnapshotTime(text.to_owned())),
        }
    }
}

fn parse_ago(text: &str) -> Option<SnapshotTime> {
    let (mut years, mut months, mut days) = (None, None, None);
    for part in text.strip_suffix("-ago")?.split('-') {
        let digits = part.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = part.split_at(digits);
        let number = if (1..=3).contains(&number.len()) { number.parse().ok()? } else { return None };
        let place = match unit {
            "y" | "year" | "years" => &mut years,
            "m" | "mo" | "month" | "months" => &mut months,
            "d" | "day" | "days" => &mut days,
            _ => return None,
        };
        if place.replace(number).is_some() {
            return None;
        }
    }
    let days = days.unwrap_or(0).into();
    Some(SnapshotTime::Ago { years: years.unwrap_or(0), months: months.unwrap_or(0).into(), days })
}

/// `Y`, `Y-M`, `Y-M-D`, `Y-M-D h`, `… h:m`, `… h:m:s`, the last also with fraction and zone.
fn parse_at(text: &str) -> Option<SnapshotTime> {
    let (text, zone) = split_zone(text.trim())?;
    let (date, time) = text.split_once(['T', ' ']).map_or((text, None), |(date, time)| (date, Some(time.trim())));
    let mut numbers = date.split('-');
    let year = numbers.next()?.parse().ok()?;
    let month = numbers.next().map(str::parse).transpose().ok()?;
    let day = numbers.next().map(str::parse).transpose().ok()?;
    let date = Date::new(year, month.unwrap_or(1), day.unwrap_or(1)).ok()?;
    let mut precision = match (month, day, numbers.next()) {
        (None, _, None) => Precision::Year,
        (_, None, None) => Precision::Month,
        (_, _, None) => Precision::Day,
        _ => return None,
    };
    let mut of_day = Time::midnight();
    if let Some(time) = time {
        let time = time.split_once('.').map_or(time, |(whole, _fraction)| whole);
        let mut numbers = time.split(':').map(str::parse::<i8>);
        let hour = numbers.next()?.ok()?;
        let minute = numbers.next().transpose().ok()?;
        let second = numbers.next().transpose().ok()?;
        precision = match (day, minute, second, numbers.next()) {
            (Some(_), None, _, None) => Precision::Hour,
            (Some(_), _, None, None) => Precision::Minute,
            (Some(_), _, _, None) => Precision::Second,
            _ => return None,
        };
        of_day = Time::new(hour, minute.unwrap_or(0), second.unwrap_or(0), 0).ok()?;
    }
    // Only a second is precise enough for a zone to be given with it.
    if zone.is_some() && precision != Precision::Second {
        return None;
    }
    Some(SnapshotTime::At { start: date.to_datetime(of_day), precision, zone })
}

/// Takes `Z`, `UTC`, `+07:00`, `+0700` or `+07` off the end of a time.
fn split_zone(text: &str) -> Option<(&str, Option<TimeZone>)> {
    if let Some(rest) = text.strip_suffix('Z').or_else(|| text.strip_suffix(" UTC")) {
        return Some((rest, Some(TimeZone::UTC)));
    }
    if let Some((rest, name)) = text.rsplit_once(' ')
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        return Some((rest, Some(TimeZone::get(name).ok()?)));
    }
    let Some(colon) = text.find(':') else { return Some((text, None)) };
    let Some(sign) = text.get(colon..)?.find(['+', '-']).map(|at| colon + at) else { return Some((text, None)) };
    let digits: String = text.get(sign + 1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes): (i32, i32) = match digits.len() {
        2 => (digits.parse().ok()?, 0),
        4 => (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().ok()?),
        _ => return None,
    };
    let seconds = (hours * 60 + minutes) * 60;
    let seconds = if text.get(sign..)?.starts_with('-') { -seconds } else { seconds };
    let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
    Some((text.get(..sign)?.trim_end(), Some(offset.to_time_zone())))
}

impl SnapshotTime {
    /// The moment before which a snapshot must have begun; None: any may be taken.
    pub fn before(&self, now: &Zoned) -> Result<Option<Timestamp>, SnapshotError> {
        let today = now.date();
        let start_of = |date: Date| date.to_zoned(now.time_zone().clone()).map(|z| z.timestamp());
        let limit = match self {
            Self::Latest | Self::Oldest => return Ok(None),
            Self::Yesterday => start_of(today),
            Self::LastMonth => start_of(today.first_of_month()),
            Self::LastYear => start_of(today.first_of_year()),
            Self::Ago { years, months, days } => {
                let ago = Span::new().years(*years).months(*months).days(*days);
                today.checked_sub(ago).and_then(|day| start_of(day.tomorrow()?))
            }
            Self::At { start, precision, zone } => {
                let step = match precision {
                    Precision::Year => Span::new().years(1),
                    Precision::Month => Span::new().months(1),
                    Precision::Day => Span::new().days(1),
                    Precision::Hour => Span::new().hours(1),
                    Precision::Minute => Span::new().minutes(1),
                    Precision::Second => Span::new().seconds(1),
                };
                let zone = zone.clone().unwrap_or_else(|| now.time_zone().clone());
                start.checked_add(step).and_then(|end| end.to_zoned(zone)).map(|z| z.timestamp())
            }
        };
        limit.map(Some).map_err(|e| SnapshotError::Internal(Box::new(e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(text: &str) -> Option<String> {
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        let now = "2026-11-21T10:30:00".parse::<DateTime>().unwrap().to_zoned(zone).unwrap();
        let time: SnapshotTime = text.parse().unwrap();
        time.before(&now).unwrap().map(|t| t.to_string())
    }

    #[test]
    fn times() {
        assert_eq!(before("latest"), None);
        assert_eq!(before("oldest"), None);
        for (text, expected) in [
            ("yesterday", "2026-11-21T05:00:00Z"),
            ("last-month", "2026-11-01T04:00:00Z"),
            ("last-year", "2026-01-01T05:00:00Z"),
            ("3d-ago", "2026-11-19T05:00:00Z"),
            ("1y-2mo-ago", "2025-09-22T04:00:00Z"),
            ("1year-2months-3days-ago", "2025-09-19T04:00:00Z"),
            ("2026", "2027-01-01T05:00:00Z"),
            ("2026-03", "2026-04-01T04:00:00Z"),
            ("2026-03-04", "2026-03-05T05:00:00Z"),
            ("2026-03-04T5", "2026-03-04T11:00:00Z"),
            ("2026-03-04 05:06", "2026-03-04T10:07:00Z"),
            ("2026-03-04 05:06:07", "2026-03-04T10:06:08Z"),
            ("2026-03-04T05:06:07Z", "2026-03-04T05:06:08Z"),
            ("2026-03-04T05:06:07.999Z", "2026-03-04T05:06:08Z"),
            ("2026-03-04T05:06:07+07:00", "2026-03-03T22:06:08Z"),
            ("2026-03-04T05:06:07-0730", "2026-03-04T12:36:08Z"),
            ("2026-03-04 05:06:07 UTC", "2026-03-04T05:06:08Z"),
        ] {
            assert_eq!(before(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in
            ["", "now", "-ago", "3x-ago", "1d-2d-ago", "1000d-ago", "2026-13", "2026-1-1-1", "2026-02-30", "12:00"]
        {
            assert!(wrong.parse::<SnapshotTime>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn paths_below_a_source() {
        assert_eq!(path_below("/a", "/a").as_deref(), Some(""));
        assert_eq!(path_below("/a", "/a/b/c").as_deref(), Some("b/c"));
        assert_eq!(path_below("/", "/b").as_deref(), Some("b"));
        assert_eq!(path_below("/a", "/ab"), None);
        assert_eq!(path_below("/a/b", "/a"), None);
    }
}
