//! A registry that has only the schemas that others refer to.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::Arc,
};

use offtake_schema::{Schema, SchemaRegistry, SchemaText, SchemaType};
use serde_json::json;

pub(super) struct Shelf {
    registry: SchemaRegistry,
    runtime: tokio::runtime::Runtime,
}

impl Shelf {
    /// A registry with these texts, by their subjects.
    pub(super) fn of(kind: SchemaType, texts: BTreeMap<String, String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let subject = first.strip_prefix("GET /subjects/").and_then(|rest| rest.split('/').next());
                let text = subject.and_then(|subject| texts.get(subject));
                let body = json!({"id": 1, "schema": text, "schemaType": kind.name()}).to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ =
                    (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(body.as_bytes()));
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { registry: SchemaRegistry::new(&url).unwrap(), runtime }
    }

    pub(super) fn schema(&self, id: u32, text: &SchemaText) -> Arc<Schema> {
        self.runtime.block_on(self.registry.prepare(id, text)).unwrap()
    }
}
