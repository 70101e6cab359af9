//! Tests of runtimes without a timer or sockets, as documented for `Builder`.

use futures_core::Stream;

use super::*;

/// A runtime with neither a timer nor sockets.
fn bare() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

#[test]
#[should_panic(expected = "timers are disabled")]
fn a_poll_without_a_timer_panics_with_what_tokio_says_of_it() {
    bare().block_on(async {
        let mut consumer = Consumer::builder("127.0.0.1:1").build().await.unwrap();
        let _ = consumer.poll(NONE).await;
    });
}

#[test]
fn n4_an_engine_that_is_spawned_without_a_timer_has_ended() {
    let bare = bare();
    let whole = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    whole.block_on(async {
        let builder = Consumer::builder("127.0.0.1:1").spawn_on(bare.handle().clone());
        let mut consumer = builder.build().await.unwrap();
        assert_eq!(consumer.poll(ALL).await.unwrap_err().kind(), ErrorKind::Closed);
        let assigned = consumer.assign([(orders(0), StartAt::Earliest)]).await;
        assert_eq!(assigned.unwrap_err().kind(), ErrorKind::Closed);
        let mut stream = Box::pin(consumer.stream());
        let told = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await;
        assert!(matches!(told, Some(Err(error)) if error.kind() == ErrorKind::Closed), "a stream has no end");
        assert!(std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await.is_none(), "it is said once");
        drop(stream);
        assert_eq!(consumer.close(ALL).await.unwrap_err().kind(), ErrorKind::Closed, "nothing was committed");
    });
}
