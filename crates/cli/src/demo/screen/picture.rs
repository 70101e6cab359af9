//! Renders a canvas as an SVG: rectangles for backgrounds and block characters, text for the rest.

use std::fmt::Write as _;

use super::canvas::{Canvas, Cell, Colour, Style, runs};

/// A cell, in pixels.
const WIDE: usize = 9;
const HIGH: usize = 19;
/// The baseline of letters within a cell.
const BASE: usize = 14;
const MARGIN: usize = 14;

const PAPER: &str = "#11151c";
const INK: &str = "#d5dae3";

/// The picture as the text of a file.
pub(crate) fn svg(canvas: &Canvas, title: &str) -> String {
    let width = canvas.width * WIDE + 2 * MARGIN;
    let height = canvas.height * HIGH + 2 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"15\" xml:space=\"preserve\">\n\
         <title>{title}</title>\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{PAPER}\"/>\n"
    );
    for (y, row) in canvas.rows().enumerate() {
        let top = y * HIGH + MARGIN;
        for (x, run) in runs(row) {
            draw_background(&mut out, x * WIDE + MARGIN, top, run);
            letters(&mut out, x * WIDE + MARGIN, top, run);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn draw_background(out: &mut String, x: usize, top: usize, run: &[Cell]) {
    let Some(colour) = run.first().and_then(|cell| cell.style.paper) else { return };
    let _ = writeln!(
        out,
        "<rect x=\"{x}\" y=\"{top}\" width=\"{}\" height=\"{HIGH}\" fill=\"{}\"/>",
        run.len() * WIDE,
        hex(colour)
    );
}

/// Writes the letters of a run. Fonts draw block characters differently, so they are drawn as rectangles.
fn letters(out: &mut String, x: usize, top: usize, run: &[Cell]) {
    let Some(style) = run.first().map(|cell| cell.style) else { return };
    let mut at = x;
    for part in run.chunk_by(|left, right| kind(left.letter) == kind(right.letter)) {
        let width = part.len() * WIDE;
        let ink = style.ink.map_or_else(|| INK.to_owned(), hex);
        match part.first().map(|cell| kind(cell.letter)) {
            Some(Kind::Block(first, height)) => {
                let from = top + (HIGH * (8 - first - height)) / 8;
                let to = top + HIGH * (8 - first) / 8;
                let high = (to - from).max(1);
                let _ = writeln!(
                    out,
                    "<rect x=\"{at}\" y=\"{from}\" width=\"{width}\" height=\"{high}\" fill=\"{ink}\"/>"
                );
            }
            Some(Kind::Text) => text(out, at, top, part, style, &ink),
            None => {}
        }
        at += width;
    }
}

fn text(out: &mut String, x: usize, top: usize, part: &[Cell], style: Style, ink: &str) {
    let blank = |cell: &&Cell| cell.letter == ' ';
    let before = part.iter().take_while(blank).count();
    let after = part.iter().rev().take_while(blank).count();
    let Some(part) = part.get(before..part.len().saturating_sub(after)).filter(|part| !part.is_empty())
    else {
        return;
    };
    let x = x + before * WIDE;
    let mut letters = String::new();
    for cell in part {
        match cell.letter {
            '<' => letters.push_str("&lt;"),
            '&' => letters.push_str("&amp;"),
            ' ' => letters.push('\u{a0}'), // several blanks would collapse to one
            letter => letters.push(letter),
        }
    }
    let bold = if style.bold { " font-weight=\"bold\"" } else { "" };
    let width = part.len() * WIDE;
    let y = top + BASE;
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{ink}\"{bold}>{letters}</text>"
    );
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text, with the blanks between words.
    Text,
    /// A block that starts this many eighths above the cell's floor and is this many high.
    Block(usize, usize),
}

fn kind(letter: char) -> Kind {
    match letter {
        '▁'..='█' => Kind::Block(0, usize::try_from(u32::from(letter) - u32::from('▁')).unwrap_or(0) + 1),
        '━' => Kind::Block(3, 2),
        '─' => Kind::Block(4, 1),
        _ => Kind::Text,
    }
}

fn hex(colour: Colour) -> String {
    let (red, green, blue) = colour.rgb();
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_text_and_bars_are_rectangles() {
        let mut canvas = Canvas::new(12, 1);
        canvas.put(0, 0, "a<b", Style::PLAIN);
        canvas.put(4, 0, "██▄", Style::ink(Colour(208)));
        let picture = svg(&canvas, "a title");
        assert!(picture.contains(">a&lt;b</text>"), "{picture}");
        assert!(
            picture.contains("<rect x=\"50\" y=\"14\" width=\"18\" height=\"19\" fill=\"#ff8700\"/>"),
            "{picture}"
        );
        assert!(
            picture.contains("<rect x=\"68\" y=\"23\" width=\"9\" height=\"10\" fill=\"#ff8700\"/>"),
            "{picture}"
        );
    }

    #[test]
    fn blanks_are_not_drawn_but_their_paper_is() {
        let mut canvas = Canvas::new(3, 1);
        canvas.put(1, 0, "  ", Style::PLAIN.on(Colour(231)));
        let picture = svg(&canvas, "a title");
        assert_eq!(picture.matches("<rect").count(), 2, "{picture}");
        assert!(!picture.contains("<text"), "{picture}");
    }
}
