//! The only place that reads a clock, for every client.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime, time::Sleep};

/// Now. Tokio's clock, so that a paused runtime pauses the client with it.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A time from now, however long: a deadline that lies beyond what can be told is a century away.
pub fn after(duration: Duration) -> Instant {
    later(now(), duration)
}

/// The same, from another moment on.
pub fn later(from: Instant, duration: Duration) -> Instant {
    from.checked_add(duration).or_else(|| from.checked_add(FOREVER)).unwrap_or(from)
}

/// Longer than anything runs, and short enough to be added to any clock.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Milliseconds since 1970. It may be set at any time, back too.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How far the clock that goes on while the machine is suspended is ahead of [`now`]'s, which stands still then. Only what is
/// added to it between two calls means anything.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn suspended() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order a thread that is interrupted between the two makes it less, never more.
    let goes_on = read(ClockId::Boottime);
    goes_on.saturating_sub(read(ClockId::Monotonic))
}

/// The same by the wall clock, which may also be set by hand.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub fn suspended() -> Duration {
    use std::sync::LazyLock;
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    let started = *STARTED;
    let goes_on = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    goes_on.saturating_sub(started.elapsed())
}

/// What tells this client's jitter from that of every other.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's own source of randomness: each `RandomState` has other keys.
    RandomState::new().hash_one(std::process::id())
}

/// Wakes the task that polls it. It may move from one runtime to another, as a timer of tokio's may not.
#[derive(Debug, Default)]
pub struct Alarm(Option<Timer>);

#[derive(Debug)]
struct Timer {
    at: Instant,
    runtime: runtime::Id,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Ready at that moment or after it; the task is woken then.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if now() >= at {
            return Poll::Ready(());
        }
        // Without a runtime there is no timer; then the next poll looks at the clock.
        let Ok(runtime) = runtime::Handle::try_current().map(|runtime| runtime.id()) else {
            return Poll::Pending;
        };
        let timer = match &mut self.0 {
            Some(timer) if timer.runtime == runtime => timer,
            none => none.insert(Timer { at, runtime, sleep: Box::pin(tokio::time::sleep_until(at.into())) }),
        };
        if timer.at != at {
            timer.at = at;
            timer.sleep.as_mut().reset(at.into());
        }
        timer.sleep.as_mut().poll(cx)
    }
}

/// What the future gives, or `None` when it took too long. A future that is ready is never too late.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// The same with the moment itself.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}
