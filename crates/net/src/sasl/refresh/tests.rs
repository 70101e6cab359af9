use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::sasl::{Token, TokenProvider, token::Tokens};

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

#[test]
fn a_token_is_due_as_java_says() {
    let refresh = Refresh::default();
    let due = |life, chance| refresh.due(at(0), at(life), chance).duration_since(at(0)).unwrap().as_secs();
    assert_eq!(due(3600, 0.0), 2880, "after 0.8 of its life");
    assert_eq!(due(3600, 1.0), 3060, "and up to 0.05 later");
    assert_eq!(due(1000, 0.0), 700, "300 s before its end");
    assert_eq!(due(360, 0.0), 60, "not before 60 s");
    assert_eq!(due(300, 0.0), 240, "it does not last for both");
    assert_eq!(due(0, 0.0), 0);
    assert_eq!(refresh.due(at(100), at(0), 0.5), at(100), "it has ended already");
    for window_factor in [f64::NAN, f64::INFINITY, -1.0, 7.0] {
        let odd = Refresh { window_factor, ..Refresh::default() };
        let due = odd.due(at(0), at(3600), 0.5);
        assert!((at(60)..=at(3300)).contains(&due), "{window_factor}: {due:?}");
    }
}

/// A provider that counts its calls, and answers as the test requires.
fn counting(
    answer: impl Fn(usize) -> Result<Token, ProviderError> + Send + Sync + 'static,
) -> (Arc<AtomicUsize>, impl TokenProvider) {
    let asked = Arc::new(AtomicUsize::new(0));
    let provider = {
        let asked = asked.clone();
        move || {
            let result = answer(asked.fetch_add(1, Relaxed));
            async move {
                tokio::task::yield_now().await;
                result
            }
        }
    };
    (asked, provider)
}

fn numbered(number: usize, expires: SystemTime) -> Token {
    Token::new(format!("token{number}")).with_expiry(Some(expires))
}

fn value(token: Result<Token, ProviderError>) -> String {
    token.unwrap().value().expose_str().unwrap().to_owned()
}

#[tokio::test]
async fn ten_connections_fetch_one_token() {
    let (asked, provider) = counting(|number| Ok(numbered(number, at(3600))));
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    let tokens = async { tokio::join!(cache.get(at(0)), cache.get(at(0)), cache.get(at(0))) }.await;
    assert_eq!([value(tokens.0), value(tokens.1), value(tokens.2)], ["token0"; 3]);
    for _ in 0..7 {
        assert_eq!(value(cache.get(at(2879)).await), "token0");
    }
    assert_eq!(asked.load(Relaxed), 1);
    assert_eq!(value(cache.get(at(3300)).await), "token1", "ahead of its end");
}

#[tokio::test]
async fn a_token_that_does_not_tell_its_end_is_used_once() {
    let (asked, provider) = counting(|_| Ok(Token::new("opaque")));
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    cache.get(at(0)).await.unwrap();
    cache.get(at(0)).await.unwrap();
    assert_eq!(asked.load(Relaxed), 2);
}

#[tokio::test]
async fn the_old_token_is_used_while_there_is_no_new_one() {
    let (asked, provider) = counting(|number| match number {
        0 => Ok(numbered(0, at(3600))),
        1..4 => Err(ProviderError::retriable("the endpoint is down")),
        _ => Ok(numbered(number, at(7200))),
    });
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    assert_eq!(value(cache.get(at(0)).await), "token0");
    assert_eq!(value(cache.get(at(3100)).await), "token0");
    assert_eq!(value(cache.get(at(3105)).await), "token0");
    assert_eq!(asked.load(Relaxed), 2, "the provider is left alone for a while");
    assert_eq!(value(cache.get(at(3110)).await), "token0");
    assert_eq!(asked.load(Relaxed), 3);
    let error = cache.get(at(3599)).await.unwrap_err();
    assert!(error.to_string().contains("is down") && error.is_retriable(), "{error}");
    assert_eq!(value(cache.get(at(3599)).await), "token4");
}

#[tokio::test]
async fn one_that_is_refused_is_fetched_anew_but_not_at_once_again() {
    let (asked, provider) = counting(|number| match number {
        2 => Err(ProviderError::retriable("the endpoint is down")),
        number => Ok(numbered(number, at(3600))),
    });
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    let first = cache.get(at(0)).await.unwrap();
    cache.refused(&first, at(5));
    assert_eq!(value(cache.get(at(9)).await), "token0", "it has just been fetched");
    assert_eq!(value(cache.get(at(10)).await), "token1");
    cache.refused(&first, at(100));
    assert_eq!(value(cache.get(at(100)).await), "token1", "another one was refused");
    cache.refused(&numbered(1, at(3600)), at(100));
    assert_eq!(value(cache.get(at(100)).await), "token1", "there is no other");
    assert_eq!(value(cache.get(at(110)).await), "token3");
    assert_eq!(asked.load(Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_silent_costs_a_connection_five_seconds_while_the_old_token_lasts() {
    let calls = AtomicUsize::new(0);
    let cache = Refreshing::new(
        Tokens::new(move || {
            let number = calls.fetch_add(1, Relaxed);
            async move {
                if number > 0 {
                    std::future::pending::<()>().await;
                }
                Ok(numbered(number, at(3600)))
            }
        }),
        Refresh::default(),
    );
    assert_eq!(value(cache.get(at(0)).await), "token0");
    let begun = crate::clock::now();
    assert_eq!(value(cache.get(at(3300)).await), "token0");
    assert_eq!(crate::clock::now() - begun, PATIENCE);
    let error = cache.get(at(3600)).await.unwrap_err();
    assert!(error.to_string().contains("60 s"), "{error}");
    assert_eq!(crate::clock::now() - begun, FETCH_TIMEOUT, "it was one request all the time");
}

#[tokio::test]
async fn a_connection_that_gives_up_does_not_end_the_fetch() {
    let (asked, provider) = counting(|number| Ok(numbered(number, at(3600))));
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    tokio::select! {
        biased;
        _ = cache.get(at(0)) => panic!("the provider yields first"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(value(cache.get(at(0)).await), "token0");
    assert_eq!(asked.load(Relaxed), 1);
}

#[tokio::test]
async fn a_provider_that_panics_is_asked_again() {
    let (asked, provider) = counting(|number| {
        assert!(number > 0, "the first request dies");
        Ok(numbered(number, at(0) + HOUR))
    });
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    assert_eq!(value(cache.get(at(0)).await), "token1");
    assert_eq!(asked.load(Relaxed), 2);
}

#[test]
fn a_fetch_that_died_with_its_runtime_is_begun_anew() {
    let (asked, provider) = counting(|number| Ok(numbered(number, at(3600))));
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let first = runtime();
    first.block_on(async {
        tokio::select! {
            biased;
            _ = cache.get(at(0)) => panic!("the provider yields first"),
            () = std::future::ready(()) => {}
        }
    });
    drop(first);
    assert!(runtime().block_on(cache.get(at(0))).is_ok());
    assert!(asked.load(Relaxed) >= 1);
}

#[test]
fn a_fetch_on_an_idle_runtime_is_started_again_on_another() {
    let (asked, provider) = counting(|number| Ok(numbered(number, at(3600))));
    let cache = Refreshing::new(Tokens::new(provider), Refresh::default());
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (first, second) = (runtime(), runtime());
    first.block_on(async {
        tokio::select! {
            biased;
            _ = cache.get(at(0)) => panic!("the provider yields first"),
            () = std::future::ready(()) => {}
        }
    });
    // The first runtime is not running now, but still exists.
    let token = second.block_on(async { timeout(2 * FETCH_TIMEOUT, cache.get(at(0))).await });
    let first_token = value(token.expect("it does not wait for ever"));
    assert_eq!(asked.load(Relaxed), 1, "the first one has not got as far as its provider");
    // It continues after all, and its result is older than the present one.
    first.block_on(async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(asked.load(Relaxed), 2);
    assert_eq!(value(second.block_on(cache.get(at(10)))), first_token);
    assert_eq!(asked.load(Relaxed), 2);
}
