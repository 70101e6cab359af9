//! A page of character cells.

/// One of the 256 standard terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) u8);

impl Colour {
    /// Red, green, blue: the cube and the greys, which look the same on every terminal.
    pub(crate) fn rgb(self) -> (u8, u8, u8) {
        const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
        match self.0 {
            index @ 16..=231 => {
                let step = |of: u8| STEPS.get(usize::from(of % 6)).copied().unwrap_or(0);
                let index = index - 16;
                (step(index / 36), step(index / 6), step(index))
            }
            index @ 232..=255 => {
                let grey = 8 + (index - 232) * 10;
                (grey, grey, grey)
            }
            _ => (0, 0, 0), // the first sixteen depend on the user's settings, and are not used here
        }
    }
}

/// The style of a cell; `None` is the terminal's own colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) ink: Option<Colour>,
    pub(crate) paper: Option<Colour>,
    pub(crate) bold: bool,
}

impl Style {
    pub(crate) const PLAIN: Self = Self { ink: None, paper: None, bold: false };
    pub(crate) const BOLD: Self = Self { ink: None, paper: None, bold: true };
    pub(crate) const FAINT: Self = Self::ink(Colour(244));

    pub(crate) const fn ink(colour: Colour) -> Self {
        Self { ink: Some(colour), paper: None, bold: false }
    }

    pub(crate) const fn on(self, paper: Colour) -> Self {
        Self { paper: Some(paper), ..self }
    }

    pub(crate) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) letter: char,
    pub(crate) style: Style,
}

const EMPTY: Cell = Cell { letter: ' ', style: Style::PLAIN };

/// A grid of cells; drawing outside it has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canvas {
    pub(crate) width: usize,
    pub(crate) height: usize,
    cells: Vec<Cell>,
}

impl Canvas {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { width, height, cells: vec![EMPTY; width.saturating_mul(height)] }
    }

    /// Writes a text, and returns the column after it. Every letter takes one cell.
    pub(crate) fn put(&mut self, x: usize, y: usize, text: &str, style: Style) -> usize {
        let mut at = x;
        for letter in text.chars().filter(|letter| !letter.is_control()) {
            if at < self.width
                && let Some(cell) = self.cells.get_mut(y.saturating_mul(self.width).saturating_add(at))
            {
                *cell = Cell { letter, style };
            }
            at += 1;
        }
        at
    }

    /// Writes a text so that it ends before `x`.
    pub(crate) fn put_before(&mut self, x: usize, y: usize, text: &str, style: Style) {
        self.put(x.saturating_sub(text.chars().count()), y, text, style);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[Cell]> {
        self.cells.chunks(self.width.max(1))
    }
}

/// Runs of neighbours with equal style: the start of each, and its cells.
pub(crate) fn runs(row: &[Cell]) -> impl Iterator<Item = (usize, &[Cell])> {
    let mut at = 0;
    row.chunk_by(|left, right| left.style == right.style).map(move |run| {
        let begins = at;
        at += run.len();
        (begins, run)
    })
}

#[cfg(test)]
impl Canvas {
    /// The letters of a row, without the blanks at its end.
    pub(crate) fn text(&self, y: usize) -> String {
        let row: String = self.rows().nth(y).unwrap_or_default().iter().map(|cell| cell.letter).collect();
        row.trim_end().to_owned()
    }

    pub(crate) fn style(&self, x: usize, y: usize) -> Style {
        self.rows().nth(y).and_then(|row| row.get(x)).map_or(Style::PLAIN, |cell| cell.style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_outside_the_canvas_is_not_drawn_and_does_not_wrap() {
        let mut canvas = Canvas::new(4, 2);
        assert_eq!(canvas.put(2, 0, "abcd", Style::PLAIN), 6);
        canvas.put(0, 9, "x", Style::PLAIN);
        assert_eq!((canvas.text(0), canvas.text(1)), ("  ab".to_owned(), String::new()));
    }

    #[test]
    fn colours_are_those_of_the_cube() {
        assert_eq!(Colour(16).rgb(), (0, 0, 0));
        assert_eq!(Colour(208).rgb(), (255, 135, 0));
        assert_eq!(Colour(231).rgb(), (255, 255, 255));
        assert_eq!(Colour(244).rgb(), (128, 128, 128));
    }

    #[test]
    fn runs_share_a_style() {
        let mut canvas = Canvas::new(5, 1);
        canvas.put(1, 0, "ab", Style::BOLD);
        let row = canvas.rows().next().unwrap();
        let found: Vec<_> = runs(row).map(|(at, run)| (at, run.len())).collect();
        assert_eq!(found, [(0, 1), (1, 2), (3, 2)]);
    }
}
