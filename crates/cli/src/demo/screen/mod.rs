//! The screen: cells, what is drawn into them, and where they go (a terminal, a picture).

mod canvas;
mod draw;
mod picture;
mod terminal;

pub(super) use canvas::Canvas;
pub(super) use draw::draw;
pub(super) use picture::svg;
pub(super) use terminal::{Terminal, restore};
