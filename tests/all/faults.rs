//! Storages that fail, hang, answer half and lie, under many sessions, against a model of what must be visible: what
//! was acknowledged is there, and what was not is there as a whole or not at all.
//!
//! Seeds are fixed, so that a failure can be had again; `LARDER_ROUNDS` tries more of them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use larder::blob::Storage;
use larder::blob::faulty::{Action, Call, Faulty, Operation};
use larder::format::testdata::splitmix;
use larder::manifest::ManifestId;
use larder::policy::{Policy, SourceInfo, store};
use larder::snapshot::manifest::Snapshot;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::interrupted::{Tree, tree, whole_snapshots};
use crate::support::{TestRepository, make_snapshot, source, write_files};

const SESSIONS: u64 = 24;
/// After which a session that hangs is given up.
const PATIENCE: Duration = Duration::from_millis(700);
const TARGETS: u64 = 3;

fn number(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What becomes of a call: the same for the same seed, session and call.
fn fate(seed: u64, session: u64, call: &Call) -> Action {
    let chance = number((seed, session, call.number));
    let dies = number((seed, session)).is_multiple_of(4);
    if dies && call.number > number((seed, session, "dies")) % 40 {
        return Action::Fail;
    }
    match (chance % 400, call.operation) {
        (0..5, _) => Action::Fail,
        (5..10, _) => Action::FailAfter,
        (10, _) => Action::Hang,
        (11..20, _) => Action::Delay(Duration::from_millis(2)),
        (20..40, Operation::List) => Action::HalfList((chance >> 32) as usize % 20),
        (40..50, Operation::List) => Action::CutList((chance >> 32) as usize % 20),
        (50..90, Operation::List | Operation::Stat) => {
            Action::Ahead(SignedDuration::from_hours((chance >> 32).cast_signed() % 48 - 24))
        }
        (90..93, Operation::Get) => Action::Lose,
        (93..96, Operation::Get) => Action::Rot,
        _ => Action::Pass,
    }
}

/// What must be visible.
#[derive(Default)]
struct Model {
    /// Acknowledged snapshots with all they hold, and whether an unacknowledged deletion may have taken them.
    snapshots: BTreeMap<ManifestId, (Tree, bool)>,
    deleted: Vec<ManifestId>,
    /// What the newest policy of each target may say.
    policies: BTreeMap<u64, Vec<i64>>,
    /// What an unacknowledged snapshot may hold.
    attempted: Vec<Tree>,
}

#[derive(Debug)]
enum Did {
    Snapshot(Box<Snapshot>),
    /// There was nothing to be seen that could be deleted.
    Nothing,
    Deleted(ManifestId),
    Policy,
}

struct World {
    seed: u64,
    repository: TestRepository,
    source: TempDir,
    model: Model,
}

impl World {
    async fn session(&mut self, session: u64) {
        let seed = self.seed;
        let script = move |call: &Call| fate(seed, session, call);
        let faulty: Arc<dyn Storage> = Arc::new(Faulty::new(Arc::clone(&self.repository.storage), script));
        let choice = number((seed, session, "choice"));
        let (target, days) = (choice % TARGETS, session.cast_signed());
        let victim = self.model.snapshots.keys().nth(choice as usize % self.model.snapshots.len().max(1)).copied();
        let kind = (choice >> 16) % 5;
        if kind < 2 {
            for file in 0..4 {
                let name = format!("d{file}/{}", choice % 3);
                write_files(self.source.path(), &[(&name, &splitmix(number((seed, session, file)), 30_000))]);
            }
        }
        let work = async {
            let repository = self.repository.try_open_through(faulty).await.map_err(|e| larder::error::chain(&e))?;
            if kind < 2 {
                let made = make_snapshot(&repository, self.source.path(), &[]).await;
                return made.map(|made| Did::Snapshot(Box::new(made))).map_err(|e| larder::error::chain(&e));
            }
            let writer = repository.writer().await.map_err(|e| larder::error::chain(&e))?;
            let done = if kind == 2 {
                let Some(manifest) = victim.and_then(|id| writer.manifests().get(id)) else { return Ok(Did::Nothing) };
                writer.delete_manifest(manifest);
                Did::Deleted(manifest.id)
            } else {
                let mut policy = Policy::default();
                policy.retention.keep_daily = Some(days);
                let target = source(format!("/target/{target}").as_ref());
                store::set(&writer, &target, &policy).map_err(|e| larder::error::chain(&e))?;
                Did::Policy
            };
            writer.commit().await.map_err(|e| larder::error::chain(&e))?;
            Ok::<_, String>(done)
        };
        let done = timeout(PATIENCE, work).await.unwrap_or_else(|_| Err("it hangs".to_owned()));
        let on_disk = on_disk(&self.source);
        let model = &mut self.model;
        match done {
            Ok(Did::Snapshot(made)) => _ = model.snapshots.insert(made.id.unwrap(), (on_disk, false)),
            Ok(Did::Nothing) => {}
            Ok(Did::Deleted(id)) => {
                model.snapshots.remove(&id);
                model.deleted.push(id);
            }
            Ok(Did::Policy) => _ = model.policies.insert(target, vec![days]),
            Err(_) if kind < 2 => model.attempted.push(on_disk),
            Err(_) if kind == 2 => {
                if let Some((_, in_doubt)) = victim.and_then(|id| model.snapshots.get_mut(&id)) {
                    *in_doubt = true;
                }
            }
            Err(_) => model.policies.entry(target).or_insert_with(|| vec![-1]).push(days),
        }
    }

    /// A client that sees everything as it is finds what the model says.
    async fn check(&mut self) {
        let repository = self.repository.open().await;
        let found = whole_snapshots(&repository).await;
        for snapshot in &found {
            let id = snapshot.id.unwrap();
            assert!(!self.model.deleted.contains(&id), "{id} was deleted");
            let held = tree(&repository, snapshot.root_entry.as_ref().unwrap()).await;
            match self.model.snapshots.get(&id) {
                Some((expected, _)) => assert!(held == *expected, "{id} is not as it was"),
                None => {
                    // Nobody was told of it, but it must be all that was wanted.
                    assert!(self.model.attempted.contains(&held), "{id} came out of nowhere");
                    self.model.snapshots.insert(id, (held, false));
                }
            }
        }
        self.model.snapshots.retain(|id, (_, in_doubt)| {
            let is_there = found.iter().any(|snapshot| snapshot.id == Some(*id));
            assert!(is_there || *in_doubt, "{id} is lost");
            is_there
        });
        let (policies, errors) = store::load(&repository.manifests().await.unwrap());
        assert!(errors.is_empty(), "{errors:?}");
        for (target, possible) in &mut self.model.policies {
            let of_target = source(format!("/target/{target}").as_ref());
            let newest = policies.iter().find(|p| p.target == of_target);
            let days = newest.and_then(|p| p.policy.retention.keep_daily).unwrap_or(-1);
            assert!(possible.contains(&days), "policy of target {target}: {days}, not one of {possible:?}");
            *possible = vec![days];
        }
        assert!(policies.iter().all(|p| p.target != SourceInfo::global()));
    }
}

fn on_disk(source: &TempDir) -> Tree {
    let mut found = Tree::new();
    for directory in std::fs::read_dir(source.path()).unwrap().map(Result::unwrap) {
        for file in std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
            let name = format!("{}/{}", directory.file_name().display(), file.file_name().display());
            found.insert(name, std::fs::read(file.path()).unwrap());
        }
    }
    found
}

#[test]
fn what_was_acknowledged_is_there_whatever_the_storage_does() {
    let seeds = std::env::var("LARDER_ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    let (mut acknowledged, mut failed) = (0, 0);
    for seed in 0..seeds {
        let runtime = Runtime::new().unwrap();
        let (more, less) = runtime.block_on(async {
            let repository = TestRepository::new().await;
            let mut world = World { seed, repository, source: TempDir::new().unwrap(), model: Model::default() };
            for session in 0..SESSIONS {
                world.session(session).await;
                world.check().await;
            }
            (world.model.snapshots.len() + world.model.deleted.len(), world.model.attempted.len())
        });
        // What hangs, hangs for good.
        runtime.shutdown_background();
        acknowledged += more;
        failed += less;
    }
    assert!(acknowledged as u64 >= seeds && failed as u64 >= seeds, "{acknowledged} and {failed} snapshots");
}
