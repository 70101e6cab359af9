//! The screen: cells, the drawing, and the outputs (a terminal, a picture).

mod canvas;
mod draw;
mod picture;
mod terminal;

pub(crate) use canvas::{Canvas, Colour, Style};
pub(super) use draw::draw;
pub(crate) use picture::svg;
pub(super) use terminal::{Terminal, restore};
