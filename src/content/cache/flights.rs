//! Contents on their way: who asks for one that somebody else is fetching waits for that.
//!
//! What came of a fetch is told to those who waited for it, and forgotten: a failure is tried again by who asks next.
//! When the one who fetches gives up, the next in line takes over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::blob::BlobId;
use crate::bytes::Bytes;
use crate::content::id::ContentId;
use crate::content::index::IndexEntry;
use crate::content::reader::Lost;
use crate::sync::lock;

type Landed = Result<Bytes, Lost>;
/// A content and the place it is fetched from: it may be gone from one, and found in another.
type Route = (ContentId, BlobId, u32);

#[derive(Debug, Default)]
pub(in crate::content) struct Flights(Mutex<HashMap<Route, Arc<OnceCell<Landed>>>>);

/// Takes part in a flight, and ends it with the last one who does.
struct Ticket<'a> {
    flights: &'a Flights,
    route: Route,
    flight: Arc<OnceCell<Landed>>,
}

impl Flights {
    /// Does `fetch`, unless somebody does already.
    pub(in crate::content) async fn join(&self, entry: &IndexEntry, fetch: impl Future<Output = Landed>) -> Landed {
        let route = (entry.id, entry.pack.clone(), entry.pack_offset);
        let flight = Arc::clone(lock(&self.0).entry(route.clone()).or_default());
        let ticket = Ticket { flights: self, route, flight };
        ticket.flight.get_or_init(|| fetch).await.clone()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights.0);
        let is_mine = flights.get(&self.route).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight));
        // The map's, and this one.
        let is_last = Arc::strong_count(&self.flight) == 2;
        if is_mine && (is_last || self.flight.initialized()) {
            flights.remove(&self.route);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::content::index::tests::some_entries;

    fn entry() -> IndexEntry {
        some_entries(1).remove(0)
    }

    fn lost() -> Lost {
        Lost::Gone { id: entry().id, pack: entry().pack, why: "test" }
    }

    #[tokio::test]
    async fn many_wait_for_one() {
        let entry = entry();
        let (flights, fetches) = (Flights::default(), AtomicU32::new(0));
        let fetch = || async {
            let fetch = fetches.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(10)).await;
            if fetch == 0 { Ok(Bytes::from_static(b"x")) } else { Err(lost()) }
        };
        let landed = join_all((0..100).map(|_| flights.join(&entry, fetch()))).await;
        assert!(landed.iter().all(|landed| matches!(landed, Ok(bytes) if bytes == "x")));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        // Failures are shared as well, and not kept.
        let landed = join_all((0..100).map(|_| flights.join(&entry, fetch()))).await;
        assert!(landed.iter().all(|landed| matches!(landed, Err(Lost::Gone { .. }))));
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
        assert!(flights.join(&entry, async { Ok(Bytes::new()) }).await.is_ok());
        assert!(lock(&flights.0).is_empty());
    }

    #[tokio::test]
    async fn another_place_is_another_flight() {
        let (flights, here) = (Flights::default(), entry());
        let there = IndexEntry { pack_offset: here.pack_offset + 1, ..here.clone() };
        let gone = flights.join(&here, async {
            sleep(Duration::from_millis(10)).await;
            Err(lost())
        });
        let (gone, found) = tokio::join!(gone, flights.join(&there, async { Ok(Bytes::new()) }));
        assert!(gone.is_err() && found.is_ok());
    }

    #[tokio::test]
    async fn who_gives_up_is_replaced() {
        let (flights, entry) = (Flights::default(), entry());
        let given_up = timeout(Duration::from_millis(20), flights.join(&entry, std::future::pending()));
        let waiting = async {
            sleep(Duration::from_millis(5)).await;
            flights.join(&entry, async { Ok(Bytes::from_static(b"x")) }).await
        };
        let (given_up, landed) = tokio::join!(given_up, waiting);
        assert!(given_up.is_err() && landed.is_ok_and(|bytes| bytes == "x"));
        let given_up = timeout(Duration::from_millis(1), flights.join(&entry, std::future::pending())).await;
        assert!(given_up.is_err() && lock(&flights.0).is_empty());
    }
}
