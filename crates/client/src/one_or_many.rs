//! [`OneOrMany`]: lets calls take topics or partitions in whatever form a caller has them.

/// One item, or several in any collection, each of which converts to a `T`: for example a
/// [`Topic`](offtake_machine::Topic) or a [`TopicPartition`](offtake_machine::TopicPartition).
///
/// A topic is a `&str`, a `String`, a `Topic`, or a reference to one of them. A partition is `("orders", 0)`,
/// a `TopicPartition`, or a reference to one. Several are passed in an array, a slice, a `Vec`, a set, or any
/// other iterator:
///
/// `Shape` distinguishes the two cases and is always inferred. The trait is implemented only here.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither one `{T}` nor a collection of them",
    label = "neither one `{T}` nor a collection of them",
    note = "a topic is a `&str`, `String` or `Topic`; a partition is `(\"topic\", 0)` or a `TopicPartition`; a reference to one does, too",
    note = "several come in an array, slice, `Vec`, set or any other iterator, by value or by reference"
)]
pub trait OneOrMany<T, Shape>: private::Sealed<T, Shape> {
    #[doc(hidden)]
    fn into_items(self) -> Vec<T>;
}

/// The shapes of [`OneOrMany`].
mod private {
    /// One `T`.
    #[derive(Debug)]
    pub struct One;
    /// A collection of them.
    #[derive(Debug)]
    pub struct Many;

    pub trait Sealed<T, Shape> {}
    impl<T, I: Into<T>> Sealed<T, One> for I {}
    impl<T, I: IntoIterator<Item: Into<T>>> Sealed<T, Many> for I {}
}

impl<T, I: Into<T>> OneOrMany<T, private::One> for I {
    fn into_items(self) -> Vec<T> {
        vec![self.into()]
    }
}

impl<T, I: IntoIterator<Item: Into<T>>> OneOrMany<T, private::Many> for I {
    fn into_items(self) -> Vec<T> {
        self.into_iter().map(Into::into).collect()
    }
}
