//! A storage that misbehaves on demand, for tests: a script sees every call and says what becomes of it.
//!
//! A script decides by the kind of call, its blob and its number (counted over all calls from 0). With it a test
//! can stop the world after the k-th call, lose answers of calls that took effect, hang, or leave blobs out of a
//! listing.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;

use super::{BlobError, BlobId, BlobMetadata, BlobRange, Capacity, PutOptions, Storage};
use crate::bytes::{Bytes, Payload};

/// One call, before it reaches the storage underneath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub operation: Operation,
    /// The blob, or the prefix of a listing; empty for [`Operation::Capacity`].
    pub name: String,
    /// How many calls came before it.
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    List,
    Stat,
    Get,
    Put,
    Delete,
    Capacity,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    /// Fails, with nothing done.
    Fail,
    /// Is done, and fails all the same: the answer got lost.
    FailAfter,
    /// Is done after a while.
    Delay(Duration),
    /// Never returns.
    Hang,
    /// A listing ends well after this many blobs, though there are more. Other calls pass.
    HalfList(usize),
    /// A listing fails after this many blobs. Other calls pass.
    CutList(usize),
    /// Answers that the blob does not exist.
    Lose,
    /// Answers that the medium has lost the blob's bytes.
    Rot,
    /// The clock that blobs have their times from is so much ahead. Calls that tell no time pass.
    Ahead(SignedDuration),
}

type Script = Box<dyn Fn(&Call) -> Action + Send + Sync>;

pub struct Faulty {
    inner: Arc<dyn Storage>,
    script: Script,
    calls: AtomicU64,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Faulty {
    pub fn new(inner: Arc<dyn Storage>, script: impl Fn(&Call) -> Action + Send + Sync + 'static) -> Self {
        Self { inner, script: Box::new(script), calls: AtomicU64::new(0) }
    }

    /// The first `calls` calls pass, the next one meets `last`, and every later one fails: what a crash of the process
    /// looks like from outside. `last` is [`Action::Fail`] or [`Action::FailAfter`], as the crash came before or after
    /// that call took effect.
    pub fn stop_after(inner: Arc<dyn Storage>, calls: u64, last: Action) -> Self {
        Self::new(inner, move |call| match call.number.cmp(&calls) {
            Ordering::Less => Action::Pass,
            Ordering::Equal => last.clone(),
            Ordering::Greater => Action::Fail,
        })
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(atomic::Ordering::SeqCst)
    }

    fn decide(&self, operation: Operation, name: &str) -> (Call, Action) {
        let number = self.calls.fetch_add(1, atomic::Ordering::SeqCst);
        let call = Call { operation, name: name.to_owned(), number };
        let action = (self.script)(&call);
        (call, action)
    }

    /// Does what the script says around `work`.
    async fn run<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl Future<Output = Result<T, BlobError>> + Send,
    ) -> Result<T, BlobError> {
        let (call, action) = self.decide(operation, name);
        Self::act(call, action, work).await
    }

    async fn act<T>(
        call: Call,
        action: Action,
        work: impl Future<Output = Result<T, BlobError>> + Send,
    ) -> Result<T, BlobError> {
        match action {
            Action::Pass | Action::HalfList(_) | Action::CutList(_) | Action::Ahead(_) => work.await,
            Action::Fail => Err(injected(&call)),
            Action::FailAfter => {
                work.await?;
                Err(injected(&call))
            }
            Action::Delay(time) => {
                tokio::time::sleep(time).await;
                work.await
            }
            Action::Hang => std::future::pending().await,
            Action::Lose | Action::Rot => Err(match BlobId::new(&call.name) {
                Ok(id) if action == Action::Lose => BlobError::NotFound { id },
                Ok(id) => BlobError::Damaged { id, source: "injected fault".into() },
                Err(_) => injected(&call),
            }),
        }
    }
}

fn ahead(blob: BlobMetadata, time: SignedDuration) -> BlobMetadata {
    BlobMetadata { timestamp: blob.timestamp + time, ..blob }
}

fn injected(call: &Call) -> BlobError {
    BlobError::Other { what: format!("{:?} {:?}", call.operation, call.name), source: "injected fault".into() }
}

#[async_trait]
impl Storage for Faulty {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn parallel_puts(&self) -> usize {
        self.inner.parallel_puts()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<BlobMetadata, BlobError>> {
        let (call, action) = self.decide(Operation::List, prefix);
        let whole = self.inner.list(prefix);
        let lost = futures::stream::once(std::future::ready(Err(injected(&call))));
        match action {
            Action::Pass => whole,
            Action::Fail | Action::Lose | Action::Rot => lost.boxed(),
            Action::FailAfter => whole.chain(lost).boxed(),
            Action::HalfList(n) => whole.take(n).boxed(),
            Action::CutList(n) => whole.take(n).chain(lost).boxed(),
            Action::Ahead(time) => whole.map_ok(move |blob| ahead(blob, time)).boxed(),
            Action::Hang => futures::stream::pending().boxed(),
            Action::Delay(time) => futures::stream::once(async move {
                tokio::time::sleep(time).await;
                whole
            })
            .flatten()
            .boxed(),
        }
    }

    async fn stat(&self, id: &BlobId) -> Result<BlobMetadata, BlobError> {
        let (call, action) = self.decide(Operation::Stat, id);
        if let Action::Ahead(time) = action {
            return Ok(ahead(self.inner.stat(id).await?, time));
        }
        Self::act(call, action, self.inner.stat(id)).await
    }

    async fn get(&self, id: &BlobId, range: BlobRange) -> Result<Bytes, BlobError> {
        self.run(Operation::Get, id, self.inner.get(id, range)).await
    }

    async fn put(&self, id: &BlobId, payload: Payload, options: PutOptions) -> Result<(), BlobError> {
        self.run(Operation::Put, id, self.inner.put(id, payload, options)).await
    }

    async fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        self.run(Operation::Delete, id, self.inner.delete(id)).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>, BlobError> {
        self.run(Operation::Capacity, "", self.inner.capacity()).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::list_all;
    use super::super::mem::MemoryStorage;
    use super::*;
    use crate::clock::SystemClock;

    fn memory() -> Arc<MemoryStorage> {
        let memory = MemoryStorage::new(Arc::new(SystemClock));
        for name in ["a", "b", "c"] {
            memory.replace(&BlobId::new(name).unwrap(), name);
        }
        Arc::new(memory)
    }

    #[tokio::test]
    async fn passes_unless_told() {
        super::super::conformance::check(&Faulty::new(Arc::new(MemoryStorage::new(Arc::new(SystemClock))), |_| {
            Action::Pass
        }))
        .await;
    }

    #[tokio::test]
    async fn does_what_the_script_says() {
        let inner = memory();
        let b = BlobId::new("b").unwrap();
        let stopped = Faulty::stop_after(inner.clone(), 1, Action::Fail);
        assert!(stopped.get(&b, BlobRange::All).await.is_ok());
        assert!(matches!(stopped.delete(&b).await, Err(BlobError::Other { .. })));
        assert_eq!(stopped.calls(), 2);
        assert!(inner.stat(&b).await.is_ok());
        let a = BlobId::new("a").unwrap();
        let stopped = Faulty::stop_after(inner.clone(), 0, Action::FailAfter);
        assert!(stopped.delete(&a).await.is_err() && stopped.delete(&b).await.is_err());
        assert!(inner.stat(&a).await.unwrap_err().is_not_found() && inner.stat(&b).await.is_ok());
        inner.replace(&a, "a");

        let half = Faulty::new(inner.clone(), |_| Action::HalfList(2));
        assert_eq!(list_all(&half, "").await.unwrap().len(), 2);
        let cut = Faulty::new(inner.clone(), |_| Action::CutList(2));
        assert!(list_all(&cut, "").await.is_err());
        let lossy = Faulty::new(inner.clone(), |_| Action::Lose);
        assert!(lossy.stat(&b).await.unwrap_err().is_not_found());
        let rotten = Faulty::new(inner.clone(), |_| Action::Rot);
        assert!(matches!(rotten.get(&b, BlobRange::All).await, Err(BlobError::Damaged { .. })));
        let early = Faulty::new(inner.clone(), |_| Action::Ahead(SignedDuration::from_hours(1)));
        let (told, real) = (early.stat(&b).await.unwrap(), inner.stat(&b).await.unwrap());
        assert_eq!(told.timestamp.duration_since(real.timestamp), SignedDuration::from_hours(1));
        assert_eq!(list_all(&early, "b").await.unwrap(), [told]);
        let late = Faulty::new(inner.clone(), |_| Action::FailAfter);
        assert!(late.delete(&b).await.is_err());
        assert!(inner.stat(&b).await.unwrap_err().is_not_found());
        let hanging = Faulty::new(inner, |_| Action::Hang);
        let waited = tokio::time::timeout(Duration::from_millis(10), list_all(&hanging, "")).await;
        assert!(waited.is_err());
    }
}
