//! The only place that reads a clock, for every client.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime, time::Sleep};

/// The current time of tokio's clock, so that a paused runtime pauses the client with it.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A time from now, however long: a deadline too late to be represented is a century away.
pub fn after(duration: Duration) -> Instant {
    later(now(), duration)
}

/// The same, from another time on.
pub fn later(from: Instant, duration: Duration) -> Instant {
    from.checked_add(duration).or_else(|| from.checked_add(FOREVER)).unwrap_or(from)
}

/// Longer than any program runs, and short enough to be added to any clock.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Milliseconds since 1970. The clock may be set at any time, back too.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How far the clock that advances during a suspension of the machine is ahead of [`now`]'s, which stands
/// still then. Only the increase between two calls has a meaning.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn suspended() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order a thread that is interrupted between the two reads makes the result smaller, never
    // larger.
    let goes_on = read(ClockId::Boottime);
    goes_on.saturating_sub(read(ClockId::Monotonic))
}

/// The same by the wall clock, which may also be set manually.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub fn suspended() -> Duration {
    use std::sync::LazyLock;
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    let started = *STARTED;
    let goes_on = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    goes_on.saturating_sub(started.elapsed())
}

/// A seed that makes this client's jitter differ from that of every other.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's own source of randomness: each `RandomState` has different keys.
    RandomState::new().hash_one(std::process::id())
}

/// Wakes the task that polls it. It may move from one runtime to another, which a tokio timer may not.
#[derive(Debug, Default)]
pub struct Alarm(Option<Timer>);

#[derive(Debug)]
struct Timer {
    at: Instant,
    runtime: runtime::Id,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Ready at that time or after it; the task is woken then.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if now() >= at {
            return Poll::Ready(());
        }
        // Without a runtime there is no timer; then the next poll reads the clock.
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

/// The future's output, or `None` if it took too long. A future that is ready is never too late.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// The same with a deadline.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}
