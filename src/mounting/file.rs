//! Reading an open file: the contents that a read asks for, and those that the next ones will.
//!
//! The kernel asks for 128 KiB at a time, of contents that have some MiB and may be far away. So each open file has a
//! *window* behind the last read, in which contents are fetched before they are asked for: none while reads jump
//! about, 1 MiB at the first read that goes on where the last one ended, and twice as much with each further one.
//! Fetched contents lie in the reader's memory of decoded contents, which all open files share.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::bytes::Bytes;
use crate::content::Reader;
use crate::object::{Object, ObjectError, ObjectId, Piece};
use crate::sync::lock;

/// Bytes of the first window, and of the largest.
const FIRST_WINDOW: u64 = 1 << 20;
const LARGEST_WINDOW: u64 = 32 << 20;
/// How far a read may be from the end of the last one and still go on from there: the kernel's requests overtake each
/// other.
const NEAR: u64 = 1 << 20;
/// Contents that one read fetches at once.
const PARALLEL_FETCHES: usize = 16;

#[derive(Debug)]
pub struct OpenFile {
    contents: Arc<Reader>,
    object: Object,
    window: Mutex<Window>,
    /// For what is fetched ahead, of all open files.
    ahead: Arc<Semaphore>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Window {
    /// Where the last read ended.
    end: u64,
    /// Bytes.
    length: u64,
    /// Up to where contents have been asked for.
    fetched: u64,
}

impl Window {
    /// What to fetch besides a read of these bytes.
    fn next(&mut self, read: &Range<u64>) -> Range<u64> {
        let goes_on = read.start <= self.end + NEAR && read.start + NEAR >= self.end;
        self.length = match (goes_on, self.length) {
            (false, _) => 0,
            (true, 0) => FIRST_WINDOW,
            (true, length) => (2 * length).min(LARGEST_WINDOW),
        };
        if !goes_on {
            self.fetched = 0;
        }
        self.end = if goes_on { self.end.max(read.end) } else { read.end };
        let ahead = self.fetched.max(read.end)..self.end + self.length;
        self.fetched = self.fetched.max(ahead.end);
        ahead
    }
}

impl OpenFile {
    pub(super) async fn open(
        contents: &Arc<Reader>,
        id: ObjectId,
        ahead: &Arc<Semaphore>,
    ) -> Result<Self, ObjectError> {
        let object = Object::open(contents, id).await?;
        Ok(Self { contents: Arc::clone(contents), object, window: Mutex::default(), ahead: Arc::clone(ahead) })
    }

    /// Up to `length` bytes from `offset` on, fewer only at the end.
    pub(super) async fn read(&self, offset: u64, length: usize) -> Result<Bytes, ObjectError> {
        let end = offset.saturating_add(length as u64).min(self.object.len());
        let range = offset.min(end)..end;
        let ahead = lock(&self.window).next(&range);
        self.fetch_ahead(ahead);
        match self.pieces(&range) {
            [] => Ok(Bytes::new()),
            [only] => Ok(part(&only.read(&self.contents).await?, only, &range)),
            several => {
                let mut whole = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
                let fetch = |piece: Piece| {
                    let contents = Arc::clone(&self.contents);
                    async move { (piece, piece.read(&contents).await) }
                };
                let mut fetches = futures::stream::iter(several.to_vec()).map(fetch).buffered(PARALLEL_FETCHES);
                while let Some((piece, bytes)) = fetches.next().await {
                    whole.extend_from_slice(&part(&bytes?, &piece, &range));
                }
                Ok(whole.into())
            }
        }
    }

    /// The pieces that have some of these bytes.
    fn pieces(&self, range: &Range<u64>) -> &[Piece] {
        let pieces = self.object.pieces();
        if range.is_empty() {
            return &[];
        }
        let first = pieces.partition_point(|piece| piece.start + piece.length <= range.start);
        let last = pieces.partition_point(|piece| piece.start < range.end);
        pieces.get(first..last).unwrap_or_default()
    }

    fn fetch_ahead(&self, range: Range<u64>) {
        for piece in self.pieces(&(range.start..range.end.min(self.object.len()))) {
            // Where so much is under way already, it is fetched when it is asked for.
            let Ok(turn) = Arc::clone(&self.ahead).try_acquire_owned() else { return };
            let (contents, piece) = (Arc::clone(&self.contents), *piece);
            tokio::spawn(async move {
                // An error is met again by whoever reads there.
                let _ = piece.read(&contents).await;
                drop(turn);
            });
        }
    }
}

/// The bytes of a piece that are in a range of the file.
fn part(bytes: &Bytes, piece: &Piece, range: &Range<u64>) -> Bytes {
    let at = |place: u64| usize::try_from(place.saturating_sub(piece.start)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_while_reads_go_on() {
        let (mut window, step, mut total) = (Window::default(), 128 << 10, 0);
        for number in 0..200_u64 {
            let read = number * step..(number + 1) * step;
            let ahead = window.next(&read);
            // Nothing twice, and nothing left out.
            assert!(ahead.start >= ahead.end || ahead.start == total.max(read.end), "{number}: {ahead:?}");
            total = total.max(ahead.end);
            assert!(total - read.end <= LARGEST_WINDOW);
        }
        assert_eq!(window.length, LARGEST_WINDOW);
        // Requests overtake each other.
        let late = window.next(&(198 * step..199 * step));
        assert!(late.start >= late.end || late.start == total);
        // A jump.
        let ahead = window.next(&(1 << 40..(1 << 40) + step));
        assert_eq!(ahead, (1 << 40) + step..(1 << 40) + step);
        assert_eq!(window.length, 0);
        assert_eq!(window.next(&((1 << 40) + step..(1 << 40) + 2 * step)).end, (1 << 40) + 2 * step + FIRST_WINDOW);
    }
}
