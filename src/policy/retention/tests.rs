use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    timezone: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    policy: RetentionPolicy,
    snapshots_newest_first: Vec<Snapshot>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    start_time: String,
    end_time: String,
    incomplete: String,
    reasons: Vec<String>,
}

/// The rules of America/New_York since 2007, so that the tests need no time zone database.
fn new_york() -> TimeZone {
    TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn complete(start: &str) -> RetentionCandidate {
    RetentionCandidate { start_time: at(start), end_time: at(start), incomplete: false }
}

fn incomplete(start: &str) -> RetentionCandidate {
    RetentionCandidate { incomplete: true, ..complete(start) }
}

fn texts(policy: &RetentionPolicy, candidates: &[RetentionCandidate], zone: &TimeZone) -> Vec<String> {
    let all = retention_reasons(policy, candidates, zone);
    all.iter().map(|reasons| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")).collect()
}

#[test]
fn keeps_what_kopia_keeps() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/samples/retention-vectors.json"));
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.timezone, "America/New_York");
    assert_eq!(vectors.cases.iter().map(|case| case.snapshots_newest_first.len()).sum::<usize>(), 314);
    for (number, case) in vectors.cases.iter().enumerate() {
        let snapshots = &case.snapshots_newest_first;
        let mut candidates: Vec<_> = snapshots
            .iter()
            .map(|snapshot| RetentionCandidate {
                start_time: at(&snapshot.start_time),
                end_time: at(&snapshot.end_time),
                incomplete: !snapshot.incomplete.is_empty(),
            })
            .collect();
        let mut expected: Vec<_> = snapshots.iter().map(|snapshot| snapshot.reasons.join(",")).collect();
        assert_eq!(texts(&case.policy, &candidates, &new_york()), expected, "case {number}");
        candidates.reverse();
        expected.reverse();
        assert_eq!(texts(&case.policy, &candidates, &new_york()), expected, "case {number}, oldest first");
    }
}

#[test]
fn periods_share_the_names_they_use() {
    let policy = RetentionPolicy { keep_weekly: Some(99), keep_monthly: Some(99), ..Default::default() };
    // The tenth of March is in week 11, written as the month of the snapshot before it in the list.
    let candidates = [complete("2026-11-20T12:00:00Z"), complete("2026-03-10T12:00:00Z")];
    assert_eq!(texts(&policy, &candidates, &TimeZone::UTC), ["weekly-1,monthly-1", "monthly-2"]);
}

#[test]
fn weeks_are_local_and_days_are_not() {
    let policy = RetentionPolicy { keep_weekly: Some(9), keep_daily: Some(9), ..Default::default() };
    // Monday 02:00 UTC is Sunday in New York.
    let candidates = [complete("2026-06-08T02:00:00Z"), complete("2026-06-07T12:00:00Z")];
    assert_eq!(texts(&policy, &candidates, &new_york()), ["daily-1,weekly-1", "daily-2"]);
    assert_eq!(texts(&policy, &candidates, &TimeZone::UTC), ["daily-1,weekly-1", "daily-2,weekly-2"]);
}

#[test]
fn incomplete_snapshots_are_kept_while_young_or_few() {
    let policy = RetentionPolicy { keep_latest: Some(1), ..Default::default() };
    let candidates = [
        incomplete("2026-06-08T12:00:00Z"),
        incomplete("2026-06-08T08:00:01Z"),
        incomplete("2026-06-08T07:00:00Z"),
        incomplete("2026-06-08T06:00:00Z"),
        complete("2026-06-08T05:00:00Z"),
        incomplete("2026-06-08T04:00:00Z"),
    ];
    let expected = ["incomplete", "incomplete", "incomplete", "", "latest-1", ""];
    assert_eq!(texts(&policy, &candidates, &TimeZone::UTC), expected);
    let only = [incomplete("2026-06-08T12:00:00Z")];
    assert_eq!(texts(&policy, &only, &TimeZone::UTC), ["incomplete"]);
}

#[test]
fn nothing_to_keep_by_keeps_all_and_zero_keeps_none() {
    let candidates = [complete("2026-06-08T12:00:00Z"), complete("2020-06-08T12:00:00Z")];
    assert_eq!(texts(&RetentionPolicy::default(), &candidates, &TimeZone::UTC), ["latest-1", "latest-2"]);
    let policy = RetentionPolicy { keep_latest: Some(0), keep_annual: Some(1), ..Default::default() };
    assert_eq!(texts(&policy, &candidates, &TimeZone::UTC), ["annual-1", ""]);
}

#[test]
fn calendar_goes_back_as_go_counts() {
    let before = |moment, zone: &TimeZone, months, days| calendar_before(at(moment), zone, months, days).unwrap();
    let utc = TimeZone::UTC;
    assert_eq!(before("2026-03-31T10:00:00Z", &utc, 1, 0), at("2026-03-03T10:00:00Z"));
    assert_eq!(before("2024-02-29T10:00:00Z", &utc, 12, 0), at("2023-03-01T10:00:00Z"));
    assert_eq!(before("2026-01-15T10:00:00Z", &utc, 1, 0), at("2025-12-15T10:00:00Z"));
    assert_eq!(before("2026-03-01T10:00:00Z", &utc, 0, 1), at("2026-02-28T10:00:00Z"));
    // 10:00 there on both days, an hour apart in UTC.
    assert_eq!(before("2026-03-10T14:00:00Z", &new_york(), 0, 7), at("2026-03-03T15:00:00Z"));
    // 02:30 on the eighth does not exist there.
    assert_eq!(before("2026-03-09T06:30:00Z", &new_york(), 0, 1), at("2026-03-08T06:30:00Z"));
}

#[test]
fn rows_of_reasons_are_shown_as_one() {
    let latest = |number| RetentionReason::Period(RetentionPeriod::Latest, number);
    let daily = |number| RetentionReason::Period(RetentionPeriod::Daily, number);
    let shown = |reasons: &[RetentionReason]| compact_reasons(reasons).join(",");
    assert_eq!(shown(&[]), "");
    assert_eq!(shown(&[latest(1)]), "latest-1");
    assert_eq!(shown(&[latest(1), daily(1), latest(2), latest(3)]), "latest-1..3,daily-1");
    assert_eq!(
        shown(&[latest(2), latest(4), latest(10), latest(9), daily(11)]),
        "latest-2,latest-4,latest-9..10,daily-11"
    );
    assert_eq!(shown(&[latest(1), latest(1), RetentionReason::Incomplete]), "latest-1,incomplete");
}

fn arbitrary_policy() -> impl Strategy<Value = RetentionPolicy> {
    let keep = || proptest::option::of(prop_oneof![0..6_i64, any::<i64>()]);
    [keep(), keep(), keep(), keep(), keep(), keep()].prop_map(|keep| {
        let [keep_latest, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_annual] = keep;
        RetentionPolicy {
            keep_latest,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_annual,
            ignore_identical_snapshots: None,
        }
    })
}

fn arbitrary_candidates() -> impl Strategy<Value = Vec<RetentionCandidate>> {
    let candidate = (prop_oneof![Just(3600_i64), Just(86400), Just(86400 * 40)], 0..50_i64, 0..9_i64, any::<bool>());
    proptest::collection::vec(candidate, 0..40).prop_map(|candidates| {
        candidates
            .into_iter()
            .map(|(unit, ago, took, incomplete)| {
                let start_time = at("2026-07-01T00:30:00Z") - SignedDuration::from_secs(unit * ago);
                RetentionCandidate { start_time, end_time: start_time + SignedDuration::from_secs(took), incomplete }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn no_period_keeps_more_than_it_may(policy in arbitrary_policy(), candidates in arbitrary_candidates()) {
        let all: Vec<_> = retention_reasons(&policy, &candidates, &new_york()).concat();
        let kept = [
            (RetentionPeriod::Hourly, policy.keep_hourly),
            (RetentionPeriod::Daily, policy.keep_daily),
            (RetentionPeriod::Weekly, policy.keep_weekly),
            (RetentionPeriod::Monthly, policy.keep_monthly),
            (RetentionPeriod::Annual, policy.keep_annual),
        ];
        for (period, limit) in kept {
            let mut numbers: Vec<u64> = all
                .iter()
                .filter_map(|reason| match reason {
                    RetentionReason::Period(of, number) if *of == period => Some(*number),
                    _ => None,
                })
                .collect();
            numbers.sort_unstable();
            prop_assert!(numbers.len() as u64 <= u64::try_from(limit.unwrap_or(0)).unwrap_or(0));
            prop_assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
        }
    }

    #[test]
    fn order_given_does_not_matter(policy in arbitrary_policy(), mut candidates in arbitrary_candidates()) {
        candidates.sort_by_key(|candidate| (candidate.start_time, candidate.end_time));
        candidates.dedup_by_key(|candidate| (candidate.start_time, candidate.end_time));
        let forwards = retention_reasons(&policy, &candidates, &new_york());
        candidates.reverse();
        let mut backwards = retention_reasons(&policy, &candidates, &new_york());
        backwards.reverse();
        prop_assert_eq!(forwards, backwards);
    }

    #[test]
    fn newest_complete_snapshot_is_kept(keep in 1..9_i64, candidates in arbitrary_candidates()) {
        let policy = RetentionPolicy { keep_latest: Some(keep), ..Default::default() };
        let reasons = retention_reasons(&policy, &candidates, &TimeZone::UTC);
        let newest = candidates.iter().filter(|candidate| !candidate.incomplete).map(|candidate| candidate.start_time).max();
        let kept = candidates.iter().zip(&reasons).any(|(candidate, reasons)| {
            Some(candidate.start_time) == newest && !candidate.incomplete && !reasons.is_empty()
        });
        prop_assert_eq!(kept, newest.is_some());
    }

    #[test]
    fn any_times_and_limits_are_accepted(keep in any::<i64>(), seconds in -377_705_023_201..=253_402_207_200_i64) {
        let keep = Some(keep);
        let policy = RetentionPolicy {
            keep_latest: keep,
            keep_hourly: keep,
            keep_daily: keep,
            keep_weekly: keep,
            keep_monthly: keep,
            keep_annual: keep,
            ignore_identical_snapshots: None,
        };
        let start_time = Timestamp::from_second(seconds).unwrap();
        let candidate = RetentionCandidate { start_time, end_time: start_time, incomplete: false };
        prop_assert_eq!(retention_reasons(&policy, &[candidate], &new_york()).len(), 1);
    }
}
