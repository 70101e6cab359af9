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

/// A consumer that is closed says so in every call, on any executor.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of the application, which is stuck if the test fails"
)]
fn n4_a_closed_consumer_says_so_each_time_also_where_there_is_no_timer() {
    use std::sync::mpsc;
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut cx = std::task::Context::from_waker(&waker);
        let bare = bare();
        let whole = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // The engine cannot run there, and ends at once.
        let builder = Consumer::builder("127.0.0.1:1").spawn_on(bare.handle().clone());
        let mut consumer = whole.block_on(builder.build()).unwrap();
        for _ in 0..3 {
            let mut next = Box::pin(consumer.next());
            let error = loop {
                match next.as_mut().poll(&mut cx) {
                    std::task::Poll::Ready(next) => break next.unwrap_err().kind(),
                    std::task::Poll::Pending => std::thread::park(),
                }
            };
            tell.send(error).unwrap();
        }
    });
    for nth in 1..=3 {
        let kind = told.recv_timeout(Duration::from_secs(10));
        assert_eq!(kind.ok(), Some(ErrorKind::Closed), "call {nth}");
    }
}

#[test]
fn n4_a_closed_consumer_says_so_each_time_also_in_a_runtime_without_a_timer() {
    let bare = bare();
    let builder = Consumer::builder("127.0.0.1:1").spawn_on(bare.handle().clone());
    bare.block_on(async {
        let mut consumer = builder.build().await.unwrap();
        for _ in 0..3 {
            assert_eq!(consumer.next().await.unwrap_err().kind(), ErrorKind::Closed);
        }
    });
}
