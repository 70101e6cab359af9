//! A picture of the screen, for documentation.

use std::{fs, path::Path, time::Duration};

use ratatui::{
    Terminal,
    backend::TestBackend,
    style::{Color, Modifier},
};

use super::{app::App, draw::draw, keys::Key};
use crate::{
    demo::screen::{Canvas, Colour, Style, svg},
    failure::Failure,
    watching::Watching,
};

/// The size in columns and lines.
const SIZE: (u16, u16) = (118, 34);

/// Makes some rounds, presses keys, and writes the screen to a file.
pub(super) async fn run(
    source: &mut Watching,
    mut app: App,
    rounds: u32,
    keys: &str,
    path: &Path,
) -> Result<(), Failure> {
    for nth in 0..rounds {
        if nth > 0 {
            pause(app.interval).await;
        }
        app.on_round(source.round().await);
    }
    for letter in keys.chars() {
        let key = if letter == '+' { Key::Enter } else { Key::Letter(letter) };
        app.on_key(key);
    }
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("cannot draw: {error}"));
    let mut terminal = Terminal::new(TestBackend::new(SIZE.0, SIZE.1)).map_err(|error| failed(&error))?;
    terminal.draw(|frame| draw(frame, &mut app)).map_err(|error| failed(&error))?;
    let picture = svg(&canvas(terminal.backend()), "offtake top");
    fs::write(path, picture)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

fn canvas(backend: &TestBackend) -> Canvas {
    let buffer = backend.buffer();
    let mut canvas = Canvas::new(SIZE.0.into(), SIZE.1.into());
    for y in 0..SIZE.1 {
        for x in 0..SIZE.0 {
            let Some(cell) = buffer.cell((x, y)) else { continue };
            let mut style = Style {
                ink: colour(cell.fg),
                paper: colour(cell.bg),
                bold: cell.modifier.contains(Modifier::BOLD),
            };
            if cell.modifier.contains(Modifier::DIM) && style.ink.is_none() {
                style.ink = Some(Colour(244));
            }
            if cell.modifier.contains(Modifier::REVERSED) {
                (style.ink, style.paper) = (Some(Colour(233)), Some(style.ink.unwrap_or(Colour(251))));
            }
            canvas.put(x.into(), y.into(), cell.symbol(), style);
        }
    }
    canvas
}

/// For each colour used here, one that looks like it on a dark background.
fn colour(colour: Color) -> Option<Colour> {
    Some(Colour(match colour {
        Color::Red => 203,
        Color::Green => 78,
        Color::Yellow => 221,
        Color::Magenta => 177,
        Color::Cyan => 80,
        _ => return None,
    }))
}

#[expect(clippy::disallowed_methods, reason = "the command's loop")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
