//! Crashes: every operation is stopped after each of its calls to the storage, before and after that call took
//! effect. What was acknowledged is whole, and work goes on.

use std::sync::Arc;

use larder::blob::faulty::{Action, Faulty};
use larder::blob::forgetful::Forgetful;
use larder::blob::mem::MemoryStorage;
use larder::blob::{Storage, list_all};
use larder::clock::SystemClock;
use larder::repo::{Credential, Identity, OpenOptions, Repository, RepositoryError, create};

use crate::interrupted::{Operation, Stage, create_options, password};

/// Bytes: small, so that a snapshot has many packs.
const PACK_SIZE: u32 = 60_000;
/// More calls than any of the operations has.
const ENDLESS: u64 = 2000;

fn memory() -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::new(Arc::new(SystemClock)))
}

/// What came of stopping an operation everywhere.
struct Stopped {
    /// Calls that the operation has.
    calls: u64,
    /// Index blobs that it writes.
    indexes: usize,
    /// Checkpoints that were found after some stop.
    checkpoints: usize,
}

async fn count(storage: &MemoryStorage, prefix: &str) -> usize {
    list_all(storage, prefix).await.unwrap().len()
}

async fn stop_everywhere(operation: Operation) -> Stopped {
    let prepared = memory();
    let stage = Stage::prepare(&(Arc::clone(&prepared) as Arc<dyn Storage>), PACK_SIZE).await;
    let mut checkpoints = 0;
    for calls in 0..ENDLESS {
        let mut through = true;
        let mut indexes = 0;
        for last in [Action::Fail, Action::FailAfter] {
            let left = Arc::new(prepared.duplicate());
            let faulty = Arc::new(Faulty::stop_after(Arc::clone(&left) as Arc<dyn Storage>, calls, last));
            let done = stage.run(operation, &(Arc::clone(&faulty) as Arc<dyn Storage>)).await;
            // A call whose failure does not matter may be the last one.
            let stopped = faulty.calls() > calls;
            assert!(stopped || done.is_ok(), "{done:?}");
            through &= !stopped;
            indexes = count(&left, "xn").await - count(&prepared, "xn").await;
            checkpoints += stage.check(operation, done.is_ok(), &(left as Arc<dyn Storage>)).await;
        }
        if through {
            return Stopped { calls, indexes, checkpoints };
        }
    }
    panic!("{operation:?} has no end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_stops_anywhere_leaves_nothing_half_done() {
    let stopped = stop_everywhere(Operation::Snapshot).await;
    assert!(stopped.calls > 40 && stopped.indexes >= 3, "{} calls, {} indexes", stopped.calls, stopped.indexes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stops_anywhere_leaves_nothing_half_done() {
    let stopped = stop_everywhere(Operation::Stream).await;
    assert!(stopped.calls > 40 && stopped.indexes >= 3, "{} calls, {} indexes", stopped.calls, stopped.indexes);
    assert!(stopped.checkpoints > 5, "{} checkpoints", stopped.checkpoints);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_stops_anywhere_is_done_or_not() {
    let calls = stop_everywhere(Operation::Delete).await.calls;
    assert!(calls > 20, "{calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_stops_anywhere_is_the_old_or_the_new() {
    let calls = stop_everywhere(Operation::SetPolicy).await.calls;
    assert!(calls > 20, "{calls} calls");
}

/// The contract lets deletions come back after a power loss: all of them, or any.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_come_back_do_no_harm() {
    let prepared = memory();
    let stage = Stage::prepare(&(Arc::clone(&prepared) as Arc<dyn Storage>), PACK_SIZE).await;
    for operation in Operation::ALL {
        for calls in (0..ENDLESS).step_by(3) {
            let left = Arc::new(prepared.duplicate());
            let forgetful = Arc::new(Forgetful::new(Arc::clone(&left)));
            let below = Arc::clone(&forgetful) as Arc<dyn Storage>;
            let faulty = Arc::new(Faulty::stop_after(below, calls, Action::Fail));
            let done = stage.run(operation, &(Arc::clone(&faulty) as Arc<dyn Storage>)).await;
            let deleted = forgetful.lose_power(|number| calls.is_multiple_of(2) || number.is_multiple_of(2)).await;
            stage.check(operation, done.is_ok(), &(left as Arc<dyn Storage>)).await;
            if faulty.calls() <= calls {
                assert!(deleted > 0, "{operation:?} deletes its session markers");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_stops_anywhere_has_made_a_repository_or_can_be_done_again() {
    let options = create_options(PACK_SIZE);
    for calls in 0..ENDLESS {
        let mut through = true;
        for last in [Action::Fail, Action::FailAfter] {
            let left: Arc<dyn Storage> = memory();
            let faulty = Arc::new(Faulty::stop_after(Arc::clone(&left), calls, last));
            let done = create(&(Arc::clone(&faulty) as Arc<dyn Storage>), &password(), &options).await;
            let stopped = faulty.calls() > calls;
            through &= !stopped;
            let open = open(&left).await;
            match (&done, &open) {
                (Ok(_), Err(e)) => panic!("the repository was made and is not there: {e}"),
                (_, Ok(_)) => {}
                (Err(_), Err(RepositoryError::NotFound { .. })) => {
                    let names: Vec<_> = list_all(&*left, "").await.unwrap();
                    let again = create(&left, &password(), &options).await;
                    assert!(again.is_ok(), "{calls} calls left {names:?}: {again:?}");
                    self::open(&left).await.unwrap();
                }
                (_, Err(e)) => panic!("{calls} calls left something that is no repository: {e}"),
            }
        }
        if through {
            assert!(calls >= 3);
            return;
        }
    }
}

async fn open(storage: &Arc<dyn Storage>) -> Result<Repository, RepositoryError> {
    let options = OpenOptions {
        identity: Identity { username: "user".into(), hostname: "host".into() },
        cache: Default::default(),
        clock: Arc::new(SystemClock),
    };
    Repository::open(Arc::clone(storage), &Credential::Password(password()), options).await
}
