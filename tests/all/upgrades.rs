//! Repositories that somebody is about to upgrade.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use larder::blob::list_all;
use larder::clock::{Clock, ManualClock};
use larder::format::{FormatError, FormatVersion, Parameters, UpgradeLock};
use larder::repo::RepositoryError;

use crate::support::TestRepository;

/// A client that began while the lock was only announced must stop writing when its time has come, although nothing
/// in the repository changes at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_an_announced_lock_takes_effect() {
    let now: Timestamp = "2026-11-21T01:00:00Z".parse().unwrap();
    let clock = Arc::new(ManualClock::new(now));
    let lock = UpgradeLock {
        owner_id: "somebody".to_owned(),
        creation_time: now,
        advance_notice_duration: SignedDuration::from_hours(2),
        io_drain_timeout: SignedDuration::from_mins(15),
        status_poll_interval: SignedDuration::from_mins(1),
        message: "moving on".to_owned(),
        max_permitted_clock_drift: SignedDuration::from_mins(5),
    };
    // Two hours less the time that others have to finish, 35 minutes.
    let takes_effect = now + SignedDuration::from_mins(85);
    let parameters = Parameters { upgrade_lock: Some(lock), ..Parameters::new(FormatVersion::LATEST).unwrap() };
    let repository = TestRepository::with_clock(parameters, Arc::clone(&clock) as Arc<dyn Clock>).await;
    let open = repository.open().await;
    let writer = open.writer().await.unwrap();
    clock.set(takes_effect - SignedDuration::from_secs(1));
    writer.flush().await.unwrap();

    clock.advance(SignedDuration::from_mins(16));
    let before = list_all(&*repository.storage, "").await.unwrap();
    for refused in [writer.flush().await.unwrap_err(), open.writer().await.unwrap_err()] {
        assert!(matches!(refused, RepositoryError::Format(FormatError::Locked { .. })), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("\"somebody\"") && text.contains("moving on") && text.contains("try again"), "{text}");
    }
    assert_eq!(list_all(&*repository.storage, "").await.unwrap(), before, "nothing was written");
}
