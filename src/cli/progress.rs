//! Progress on standard error: one line that changes on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, interval};

use super::app::App;

/// How often a line is printed where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Waits for work, and shows how far it is until then. `status` tells; `tick` runs each time, with a function that
/// prints a line above the progress.
pub(super) async fn watch<T>(
    app: &App,
    work: impl Future<Output = T>,
    status: impl Fn() -> String,
    tick: impl Fn(),
) -> T {
    let shown = app.shows_progress();
    let terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(None, draw_target(shown && terminal));
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut next_line = Instant::now() + PLAIN_INTERVAL;
    let mut ticks = interval(app.global.progress_update_interval.max(Duration::from_millis(10)));
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                bar.finish_and_clear();
                tick();
                return done;
            }
            _ = ticks.tick() => {
                bar.suspend(&tick);
                if shown && terminal {
                    bar.set_message(status());
                    bar.tick();
                } else if shown && Instant::now() >= next_line {
                    next_line = Instant::now() + PLAIN_INTERVAL;
                    eprintln!(" {}", status());
                }
            }
        }
    }
}

fn draw_target(visible: bool) -> ProgressDrawTarget {
    if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}
