//! Sessions that end, and credentials that change, while a consumer reads.
