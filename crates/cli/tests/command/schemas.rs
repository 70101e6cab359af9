//! `offtake schemas`, and a registry that fails.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use crate::operator::{done, offtake};

/// A registry with three subjects: one that works, one that is gone when it is asked for, and one for which it
/// returns an error.
#[allow(clippy::disallowed_methods, reason = "a server of its own")]
fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { continue };
            let (status, body) = match path {
                "/subjects" => ("200 OK", r#"["gone","there","unknown"]"#),
                "/subjects/there/versions" => ("200 OK", "[1]"),
                path if path.contains("/there/") => {
                    ("200 OK", r#"{"subject":"there","version":1,"id":7,"schema":"\"string\""}"#)
                }
                path if path.contains("/gone/") => {
                    ("404 Not Found", r#"{"error_code":40401,"message":"Subject not found"}"#)
                }
                _ => ("500 Internal Server Error", r#"{"error_code":50001,"message":"the store is down"}"#),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    url
}

#[test]
fn a_subject_of_which_the_registry_cannot_tell_is_a_failure_and_one_that_is_gone_is_none() {
    let listed = done(&mut offtake(&format!("schemas list --json --registry {}", registry())));
    assert_eq!(listed.code, Some(1), "{listed:?}");
    assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
    assert!(listed.stdout.contains("there"), "what is known is printed: {listed:?}");
    let last = listed.stderr.lines().last().unwrap();
    assert!(last.contains("subject unknown") && last.contains("the store is down"), "{listed:?}");
}
