//! The faces: a model on loopback, or in memory.
