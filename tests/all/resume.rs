//! Going on after an interruption: what was uploaded some time ago is not uploaded again, and files that a checkpoint
//! names are not read again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use larder::blob::Storage;
use larder::blob::faulty::{Action, Faulty, Operation};
use larder::clock::{Clock, ManualClock};
use larder::content::Scratch;
use larder::content::id::Prefix;
use larder::format::testdata::splitmix;
use larder::snapshot::create::CreateOptions;
use larder::snapshot::directory::Directory;
use larder::snapshot::summary::Incomplete;
use larder::snapshot::upload::{Progress, Source, UploadOptions};
use tempfile::TempDir;

use crate::interrupted::whole_snapshots;
use crate::support::{TestRepository, make, root, write_files};

/// Stores one content a minute, as a snapshot does, and stops after `minutes`; gives how many contents were new.
async fn write_for(repository: &TestRepository, clock: &Arc<ManualClock>, minutes: u64) -> u64 {
    let open = repository.open_at(Arc::clone(clock) as Arc<dyn Clock>).await;
    let writer = open.writer().await.unwrap();
    for minute in 0..minutes {
        let data = splitmix(minute, 5000);
        let contents = Arc::clone(writer.contents());
        tokio::task::block_in_place(|| contents.put(Prefix::NONE, &data, None, &mut Scratch::default())).unwrap();
        clock.advance(SignedDuration::from_mins(1));
        if contents.is_flush_due() {
            writer.flush().await.unwrap();
        }
    }
    writer.contents().stats().contents
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_ten_minutes_are_uploaded_again() {
    let clock = Arc::new(ManualClock::new(Timestamp::now()));
    for minutes in [5, 9, 10, 25, 39, 60] {
        let repository = TestRepository::new().await;
        assert_eq!(write_for(&repository, &clock, minutes).await, minutes);
        let again = write_for(&repository, &clock, minutes).await;
        assert!(again <= minutes.min(10), "{again} of {minutes} minutes were uploaded again");
        assert_eq!(again, minutes % 10, "every ten minutes what was written becomes visible");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_checkpoint_names_are_not_read_again() {
    const FILES: u64 = 40;
    let repository = TestRepository::new().await;
    let directory = TempDir::new().unwrap();
    for file in 0..FILES {
        write_files(directory.path(), &[(&format!("d{}/{file}", file % 5), &splitmix(file, 1_500_000))]);
    }
    // Larger than what is read at once, so that a checkpoint may have a part of it.
    write_files(directory.path(), &[("large", &splitmix(1000, 9_000_000))]);

    // The second checkpoint is the last thing that succeeds.
    let indexes = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let script = move |call: &larder::blob::faulty::Call| {
        if stopped.load(Ordering::SeqCst) {
            return Action::Fail;
        }
        match call.operation {
            Operation::Put if call.name.starts_with("xn") && indexes.fetch_add(1, Ordering::SeqCst) == 1 => {
                stopped.store(true, Ordering::SeqCst);
                Action::Pass
            }
            Operation::Put if call.name.starts_with('p') => Action::Delay(Duration::from_millis(40)),
            _ => Action::Pass,
        }
    };
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new(Arc::clone(&repository.storage), script));
    let options = CreateOptions {
        checkpoint_interval: Duration::from_millis(25),
        upload: UploadOptions { parallel: 2, ..UploadOptions::default() },
        ..CreateOptions::default()
    };
    let input = || Source::Path(directory.path().to_owned());
    let open = repository.open_through(storage).await;
    make(&open, directory.path(), input(), &[], &options, &Arc::default()).await.unwrap_err();

    let open = repository.open().await;
    let checkpoints = whole_snapshots(&open).await;
    assert!(!checkpoints.is_empty());
    let mut known = BTreeSet::new();
    for checkpoint in checkpoints {
        assert_eq!(checkpoint.incomplete, Some(Incomplete::Checkpoint));
        let mut todo = vec![(String::new(), root(&checkpoint).object)];
        while let Some((path, directory)) = todo.pop() {
            for entry in Directory::read(open.contents(), directory).await.unwrap().entries {
                let path = format!("{path}/{}", entry.name);
                if entry.kind.is_directory() {
                    todo.push((path, entry.object));
                } else if !entry.is_partial() {
                    known.insert(path);
                }
            }
        }
    }
    let known = known.len() as u64;
    assert!((1..=FILES).contains(&known), "the checkpoint has {known} files");
    let progress = Arc::new(Progress::default());
    let made = make(&open, directory.path(), input(), &[], &CreateOptions::default(), &progress).await.unwrap();
    assert!(made.is_complete());
    assert_eq!(progress.cached_files.load(Ordering::Relaxed), known);
    assert_eq!(progress.hashed_files.load(Ordering::Relaxed), FILES + 1 - known);
}
