//! What the codec costs, measured; each bench is a file beside this one.
