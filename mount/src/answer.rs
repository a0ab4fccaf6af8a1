//! How a request gets its answer: at once when the tree knows it, and in any case before a deadline.
//!
//! Most answers lie in memory. Those are given on the thread that read the request, which costs neither a task nor a
//! switch: the tree's future is polled once, and only one that has to wait is moved to the runtime. The kernel waits
//! for an answer without a limit and does not let a process be killed meanwhile, so each wait has an end. A tree that
//! panics has failed one request, not the thread that all the others need.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::TreeError;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("a programming error: the tree panicked")]
    Panic,
}

/// What was asked, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) operation: &'static str,
    pub(crate) inode: u64,
}

impl fmt::Display for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of inode {}", self.operation, self.inode)
    }
}

/// Where and for how long answers are waited for.
pub(crate) struct Answers {
    /// With timers.
    pub(crate) runtime: Handle,
    pub(crate) deadline: Duration,
}

impl Answers {
    /// Calls `done` with the answer, exactly once: on this thread when there is no wait, else on the runtime.
    pub(crate) fn answer<A, F, D>(&self, question: Question, answer: F, done: D)
    where
        A: Send + 'static,
        F: Future<Output = Result<A, TreeError>> + Send + 'static,
        D: FnOnce(Result<A, Failure>) + Send + 'static,
    {
        let _inside = self.runtime.enter();
        let mut answer = Guarded(Box::pin(answer));
        if let Poll::Ready(answer) = Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop())) {
            log(question, &answer);
            return done(answer);
        }
        let deadline = self.deadline;
        self.runtime.spawn(async move {
            let answer = timeout(deadline, answer).await.unwrap_or(Err(Failure::Late(deadline)));
            log(question, &answer);
            done(answer);
        });
    }
}

/// A future whose panic is an answer.
struct Guarded<F>(Pin<Box<F>>);

impl<A, F: Future<Output = Result<A, TreeError>>> Future for Guarded<F> {
    type Output = Result<A, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => Poll::Ready(answer.map_err(Failure::Tree)),
            Err(_) => Poll::Ready(Err(Failure::Panic)),
        }
    }
}

/// One line for what must not happen. That something is not there is no failure of the mount.
fn log<A>(question: Question, answer: &Result<A, Failure>) {
    match answer {
        Ok(_) => {}
        Err(Failure::Tree(TreeError::Io(cause))) => tracing::error!("{question} failed: {}", Chain(cause.as_ref())),
        Err(Failure::Tree(other)) => tracing::debug!("{question}: {other}"),
        Err(failure @ (Failure::Late(_) | Failure::Panic)) => tracing::error!("{question} failed: {failure}"),
    }
}

/// An error with all its causes, in one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut below = self.0.source();
        while let Some(cause) = below {
            write!(formatter, ": {cause}")?;
            below = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const QUESTION: Question = Question { operation: "a test", inode: 7 };

    fn answers(deadline: Duration) -> (tokio::runtime::Runtime, Answers) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let answers = Answers { runtime: runtime.handle().clone(), deadline };
        (runtime, answers)
    }

    /// The answer, and whether it was given on the thread that asked.
    fn ask<A, F>(answers: &Answers, future: F) -> (Result<A, Failure>, bool)
    where
        A: Send + 'static,
        F: Future<Output = Result<A, TreeError>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        answers.answer(QUESTION, future, move |answer| {
            sender.send((answer, thread::current().id())).unwrap();
        });
        let (answer, by) = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        (answer, by == thread::current().id())
    }

    #[test]
    fn what_is_ready_is_answered_by_the_thread_that_asked() {
        let (_runtime, answers) = answers(Duration::from_secs(20));
        assert!(matches!(ask(&answers, async { Ok(1) }), (Ok(1), true)));
        let missing = ask::<(), _>(&answers, async { Err(TreeError::NotFound) });
        assert!(matches!(missing, (Err(Failure::Tree(TreeError::NotFound)), true)));
    }

    #[test]
    fn what_waits_is_answered_by_the_runtime() {
        let (_runtime, answers) = answers(Duration::from_secs(20));
        let waits = async {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(tokio::spawn(async { 2 }).await.unwrap())
        };
        assert!(matches!(ask(&answers, waits), (Ok(2), false)));
    }

    #[test]
    fn a_wait_ends_at_the_deadline() {
        let (_runtime, answers) = answers(Duration::from_millis(5));
        let answer = ask::<(), _>(&answers, std::future::pending());
        assert!(matches!(answer, (Err(Failure::Late(_)), false)), "{answer:?}");
    }

    #[test]
    fn a_panic_is_an_answer() {
        let (_runtime, answers) = answers(Duration::from_secs(20));
        assert!(matches!(ask::<(), _>(&answers, async { panic!("at once") }), (Err(Failure::Panic), true)));
        let later = async {
            tokio::task::yield_now().await;
            panic!("later")
        };
        assert!(matches!(ask::<(), _>(&answers, later), (Err(Failure::Panic), false)));
        assert!(matches!(ask(&answers, async { Ok(1) }), (Ok(1), true)), "and the next one is answered");
    }

    #[test]
    fn causes_are_told_in_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("pack p1 cannot be read")]
        struct Outer(#[source] std::io::Error);
        let chain = Chain(&Outer(std::io::Error::other("the disk is gone"))).to_string();
        assert_eq!(chain, "pack p1 cannot be read: the disk is gone");
    }
}
