//! Which snapshots of a source are kept, and why.
//!
//! Format page 22 §3.4. Each complete snapshot, newest first, may take a place in each of six periods that has one left, unless the
//! name of its hour, day, week, month or year is already used. Two quirks stay, because the same policy has to keep the same
//! snapshots as it does with kopia: all periods share one set of used names, so that the eleventh week of a year and its November
//! block each other, both being written `2026-11`; and a week is one of local time while the others are of UTC.
//!
//! Ages are measured from the newest complete snapshot, not from now: where no snapshots are made, none expire. Of the incomplete
//! ones those after the last complete one are kept while they are young or few.
//!
//! What has no reason here and no pin may be deleted; that is the caller's.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};

use super::RetentionPolicy;

const INCOMPLETE_AGE: SignedDuration = SignedDuration::from_hours(4);
const INCOMPLETE_COUNT: usize = 3;

/// What decides about one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionCandidate {
    /// When it was begun.
    pub start_time: Timestamp,
    /// When it was done.
    pub end_time: Timestamp,
    /// Whether it lacks a part of its source.
    pub incomplete: bool,
}

/// What snapshots are kept by, in the order in which reasons are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetentionPeriod {
    /// Any time.
    Latest,
    /// One an hour.
    Hourly,
    /// One a day.
    Daily,
    /// One a week.
    Weekly,
    /// One a month.
    Monthly,
    /// One a year.
    Annual,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetentionReason {
    /// It is the n-th of a period, from 1.
    Period(RetentionPeriod, u64),
    /// It is not complete, and no later one is.
    Incomplete,
}

/// Why each of a source's snapshots is kept, in the order given; those without a reason are not.
pub fn retention_reasons(
    policy: &RetentionPolicy,
    candidates: &[RetentionCandidate],
    zone: &TimeZone,
) -> Vec<Vec<RetentionReason>> {
    let mut newest_first: Vec<_> = candidates.iter().enumerate().collect();
    newest_first.sort_by_key(|(_, candidate)| Reverse((candidate.start_time, candidate.end_time)));
    let mut reasons = vec![Vec::new(); candidates.len()];

    let complete = candidates.iter().filter(|candidate| !candidate.incomplete);
    if let Some(newest) = complete.map(|candidate| candidate.start_time).max() {
        let mut buckets = buckets(policy, newest, zone);
        let mut used = HashSet::new();
        for (index, (given, candidate)) in newest_first.iter().enumerate() {
            if !candidate.incomplete {
                let taken =
                    buckets.iter_mut().filter_map(|bucket| bucket.take(index, candidate.start_time, zone, &mut used));
                reasons[*given].extend(taken);
                reasons[*given].sort();
            }
        }
    }

    let last_start = newest_first.first().map(|(_, candidate)| candidate.start_time);
    for (index, (given, candidate)) in newest_first.into_iter().enumerate() {
        let young = last_start.is_some_and(|last| last.duration_since(candidate.start_time) < INCOMPLETE_AGE);
        if !candidate.incomplete || !(young || index < INCOMPLETE_COUNT) {
            break;
        }
        reasons[given].push(RetentionReason::Incomplete);
    }
    reasons
}

/// Reasons as they are shown, several in a row of one period as `latest-1..3`.
pub fn compact_reasons(reasons: &[RetentionReason]) -> Vec<String> {
    let mut sorted = reasons.to_vec();
    sorted.sort();
    sorted.dedup();
    let follows = |a: &RetentionReason, b: &RetentionReason| match (a, b) {
        (RetentionReason::Period(p, n), RetentionReason::Period(q, m)) => p == q && n.checked_add(1) == Some(*m),
        _ => false,
    };
    let runs = sorted.chunk_by(follows).filter_map(|run| Some((run.first()?, run.last()?)));
    runs.map(|(first, last)| match last {
        RetentionReason::Period(_, number) if first != last => format!("{first}..{number}"),
        _ => first.to_string(),
    })
    .collect()
}

impl RetentionPeriod {
    /// The word for it in reasons.
    pub fn name(self) -> &'static str {
        match self {
            RetentionPeriod::Latest => "latest",
            RetentionPeriod::Hourly => "hourly",
            RetentionPeriod::Daily => "daily",
            RetentionPeriod::Weekly => "weekly",
            RetentionPeriod::Monthly => "monthly",
            RetentionPeriod::Annual => "annual",
        }
    }

    /// The name, for this period, of the moment at which the snapshot of this index was begun.
    fn of(self, index: usize, start: Timestamp, zone: &TimeZone) -> String {
        let utc = Offset::UTC.to_datetime(start);
        let (year, month, day, hour) = (utc.year(), utc.month(), utc.day(), utc.hour());
        match self {
            RetentionPeriod::Latest => index.to_string(),
            RetentionPeriod::Hourly => format!("{year:04}-{month:02}-{day:02} {hour:02}"),
            RetentionPeriod::Daily => format!("{year:04}-{month:02}-{day:02}"),
            RetentionPeriod::Weekly => {
                let week = zone.to_datetime(start).iso_week_date();
                format!("{:04}-{:02}", week.year(), week.week())
            }
            RetentionPeriod::Monthly => format!("{year:04}-{month:02}"),
            RetentionPeriod::Annual => format!("{year:04}"),
        }
    }
}

impl fmt::Display for RetentionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetentionReason::Period(period, number) => write!(f, "{}-{number}", period.name()),
            RetentionReason::Incomplete => f.write_str("incomplete"),
        }
    }
}

struct Bucket {
    period: RetentionPeriod,
    oldest: Timestamp,
    limit: u64,
    count: u64,
}

impl Bucket {
    fn take(
        &mut self,
        index: usize,
        start: Timestamp,
        zone: &TimeZone,
        used: &mut HashSet<String>,
    ) -> Option<RetentionReason> {
        if self.count >= self.limit || start < self.oldest || !used.insert(self.period.of(index, start, zone)) {
            return None;
        }
        self.count += 1;
        Some(RetentionReason::Period(self.period, self.count))
    }
}

/// The periods in the order in which a snapshot takes places in them.
fn buckets(policy: &RetentionPolicy, newest: Timestamp, zone: &TimeZone) -> [Bucket; 6] {
    let [annual, monthly, weekly, daily, hourly, latest] = [
        policy.keep_annual,
        policy.keep_monthly,
        policy.keep_weekly,
        policy.keep_daily,
        policy.keep_hourly,
        policy.keep_latest,
    ]
    .map(Option::unwrap_or_default);
    let all = [annual, monthly, weekly, daily, hourly, latest].iter().fold(0_i64, |sum, keep| sum.wrapping_add(*keep));
    let latest = if all == 0 { i64::MAX } else { latest };
    let months_before = |months: i64| calendar_before(newest, zone, months, 0);
    let days_before = |days: i64| calendar_before(newest, zone, 0, days);
    let hours_before = |hours: i64| newest.checked_sub(SignedDuration::from_secs(hours.checked_mul(3600)?)).ok();
    let bucket = |period, keep: i64, oldest: Option<Timestamp>| Bucket {
        period,
        // Nothing is older than a time too long ago to be written.
        oldest: oldest.unwrap_or(Timestamp::MIN),
        limit: u64::try_from(keep).unwrap_or(0),
        count: 0,
    };
    [
        bucket(RetentionPeriod::Latest, latest, None),
        bucket(RetentionPeriod::Annual, annual, months_before(annual.saturating_mul(12))),
        bucket(RetentionPeriod::Monthly, monthly, months_before(monthly)),
        bucket(RetentionPeriod::Weekly, weekly, days_before(weekly.saturating_mul(7))),
        bucket(RetentionPeriod::Daily, daily, days_before(daily)),
        bucket(RetentionPeriod::Hourly, hourly, hours_before(hourly)),
    ]
}

/// The same local time so many months and days before. As Go counts it: a day that the month does not have is one of the next
/// month, and a local time that does not exist is taken by the offset from then on.
fn calendar_before(moment: Timestamp, zone: &TimeZone, months: i64, days: i64) -> Option<Timestamp> {
    let local = zone.to_datetime(moment);
    let month = (i64::from(local.year()) * 12 + i64::from(local.month()) - 1).checked_sub(months)?;
    let year = i16::try_from(month.div_euclid(12)).ok()?;
    let first = Date::new(year, i8::try_from(month.rem_euclid(12)).ok()? + 1, 1).ok()?;
    let days = (i64::from(local.day()) - 1).checked_sub(days)?;
    let date = first.checked_add(Span::new().try_days(days).ok()?).ok()?;
    let local = date.to_datetime(local.time());
    let guess = zone.to_offset(Offset::UTC.to_timestamp(local).ok()?).to_timestamp(local).ok()?;
    zone.to_offset(guess).to_timestamp(local).ok()
}

#[cfg(test)]
mod tests;
