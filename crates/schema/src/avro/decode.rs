//! Executes a program on the bytes of a value; all ways of decoding use it.

use super::budget::Budget;
use super::error::{DecodeError, DecodeErrorKind};
use super::program::{FieldOp, Op, OpId, Program};
use super::schema::Name;

/// The charge for an item that takes no bytes, because nothing else limits the number of such items.
const EMPTY_ITEM: u64 = 256;

/// Reads one value. `'de` is the lifetime of the input, `'x` that of the program and the input.
pub(super) struct Decoder<'x, 'de> {
    pub(super) program: &'x Program,
    /// The whole input, from which strings are borrowed.
    input: &'de [u8],
    /// The rest of the input or of a default.
    rest: &'x [u8],
    in_default: bool,
    depth: u32,
    values: u64,
    bytes: u64,
}

/// Bytes of the input or of a default.
pub(super) enum Piece<'x, 'de> {
    Input(&'de [u8]),
    Default(&'x [u8]),
}

/// The remaining items of an array or entries of a map.
#[derive(Default)]
pub(super) struct Blocks {
    left: u64,
    ended: bool,
}

#[cold]
fn too_short() -> DecodeError {
    DecodeError::malformed("the bytes end too soon")
}

#[cold]
fn over_budget(what: &str) -> DecodeError {
    DecodeError::new(DecodeErrorKind::Budget, what)
}

impl<'x, 'de: 'x> Decoder<'x, 'de> {
    pub(super) fn new(program: &'x Program, input: &'de [u8], budget: &Budget) -> Self {
        Self {
            program,
            input,
            rest: input,
            in_default: false,
            depth: budget.depth,
            values: budget.values,
            bytes: budget.bytes,
        }
    }

    /// Checks that nothing follows the value.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::malformed(format!("{left} bytes are left over after the value"))),
        }
    }

    // ---- Budgets.

    pub(super) fn enter(&mut self) -> Result<(), DecodeError> {
        match self.depth.checked_sub(1) {
            Some(left) => self.depth = left,
            None => return Err(over_budget("values lie deeper in one another than the budget allows")),
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth += 1;
    }

    pub(super) fn charge_values(&mut self, count: u64) -> Result<(), DecodeError> {
        match self.values.checked_sub(count) {
            Some(left) => self.values = left,
            None => return Err(over_budget("the value has more parts than the budget allows")),
        }
        Ok(())
    }

    pub(super) fn charge_bytes(&mut self, count: u64) -> Result<(), DecodeError> {
        match self.bytes.checked_sub(count) {
            Some(left) => self.bytes = left,
            None => return Err(over_budget("the value takes more memory than the budget allows")),
        }
        Ok(())
    }

    // ---- Bytes.

    pub(super) fn take(&mut self, count: usize) -> Result<&'x [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(too_short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Bytes that outlive the decoder if they belong to the input.
    pub(super) fn piece(&mut self, count: usize) -> Result<Piece<'x, 'de>, DecodeError> {
        let before = self.rest.len();
        let taken = self.take(count)?;
        if self.in_default {
            // A few bytes of the input can require any number of defaults.
            self.charge_bytes(count as u64)?;
            return Ok(Piece::Default(taken));
        }
        let start = self.input.len().saturating_sub(before);
        let piece = self.input.get(start..).and_then(|input| input.get(..count));
        piece.map(Piece::Input).ok_or_else(too_short)
    }

    pub(super) fn long(&mut self) -> Result<i64, DecodeError> {
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(zigzag(u64::from(first)));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<i64, DecodeError> {
        let mut value = 0_u64;
        for (nth, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * nth);
            if byte < 0x80 {
                if nth == 9 && byte > 1 {
                    break;
                }
                self.rest = self.rest.get(nth + 1..).unwrap_or_default();
                return Ok(zigzag(value));
            }
        }
        if self.rest.len() < 10 {
            return Err(too_short());
        }
        Err(DecodeError::malformed("a number has more than 64 bits"))
    }

    pub(super) fn int(&mut self) -> Result<i32, DecodeError> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| DecodeError::malformed("an int has more than 32 bits"))
    }

    /// A number of bytes.
    pub(super) fn length(&mut self) -> Result<usize, DecodeError> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| DecodeError::malformed(format!("a length is {length}")))
    }

    pub(super) fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(DecodeError::malformed(format!("a boolean is {other}"))),
        }
    }

    pub(super) fn float(&mut self) -> Result<f32, DecodeError> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    pub(super) fn double(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    pub(super) fn symbol(&mut self, symbols: &'x super::program::Symbols) -> Result<&'x str, DecodeError> {
        let index = self.int()?;
        match usize::try_from(index).ok().and_then(|index| symbols.symbols.get(index)) {
            Some(Ok(symbol)) => {
                self.charge_bytes(symbol.len() as u64)?;
                Ok(symbol)
            }
            Some(Err(symbol)) => {
                let reason = format!("the reader's enum does not have the symbol {symbol}, and no default");
                Err(DecodeError::new(DecodeErrorKind::Unresolved, reason))
            }
            None => {
                Err(DecodeError::malformed(format!("symbol {index} of an enum of {}", symbols.symbols.len())))
            }
        }
    }

    /// The bytes of a decimal.
    pub(super) fn decimal(&mut self, size: Option<usize>) -> Result<&'x [u8], DecodeError> {
        let size = match size {
            Some(size) => size,
            None => self.length()?,
        };
        self.take(size)
    }

    // ---- Structure.

    /// Reads on until the type of the value is known: the branch of a union, and its name in the reader's union.
    #[inline]
    pub(super) fn choose(&mut self, op: OpId) -> Result<(&'x Op, Option<&'x Name>), DecodeError> {
        let program = self.program;
        let mut op = program.get(op);
        if let Op::Union(branches) = op {
            let index = self.long()?;
            let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
            let Some(branch) = branch else {
                return Err(DecodeError::malformed(format!(
                    "branch {index} of a union of {}",
                    branches.len()
                )));
            };
            op = program.get(*branch);
        }
        match op {
            Op::Branch { name, op } => Ok((program.get(*op), Some(name))),
            Op::Never(mismatch) => Err(DecodeError::new(
                DecodeErrorKind::Unresolved,
                format!("the reader's schema cannot take it: {mismatch}"),
            )),
            _ => Ok((op, None)),
        }
    }

    /// Whether another item follows.
    #[inline]
    pub(super) fn next_item(&mut self, blocks: &mut Blocks, least: u32) -> Result<bool, DecodeError> {
        if blocks.left == 0 && !blocks.ended {
            self.next_block(blocks, least)?;
        }
        match blocks.left.checked_sub(1) {
            Some(left) => blocks.left = left,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// A lower bound of the number of items still to come.
    pub(super) fn at_hand(blocks: &Blocks, least: u32) -> usize {
        if least == 0 { 0 } else { usize::try_from(blocks.left).unwrap_or(0) }
    }

    pub(super) fn next_block(&mut self, blocks: &mut Blocks, least: u32) -> Result<(), DecodeError> {
        let count = self.long()?;
        if count < 0 {
            self.block_size()?;
        }
        blocks.left = count.unsigned_abs();
        blocks.ended = count == 0;
        self.charge_block(blocks.left, least)
    }

    fn block_size(&mut self) -> Result<usize, DecodeError> {
        let size = self.length()?;
        if size > self.rest.len() { Err(too_short()) } else { Ok(size) }
    }

    fn charge_block(&mut self, count: u64, least: u32) -> Result<(), DecodeError> {
        if least == 0 {
            self.charge_bytes(count.saturating_mul(EMPTY_ITEM))?;
        } else if count.saturating_mul(u64::from(least)) > self.rest.len() as u64 {
            return Err(DecodeError::malformed(format!(
                "{count} items are said to follow, in {} bytes",
                self.rest.len()
            )));
        }
        self.charge_values(count)
    }

    /// Reads a default instead of the input.
    pub(super) fn with_default<T>(
        &mut self,
        value: &'x [u8],
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let before =
            (std::mem::replace(&mut self.rest, value), std::mem::replace(&mut self.in_default, true));
        let result = read(self);
        (self.rest, self.in_default) = before;
        result
    }

    /// Skips a value.
    pub(super) fn skip(&mut self, op: OpId) -> Result<(), DecodeError> {
        let (op, _) = self.choose(op)?;
        self.skip_op(op)
    }

    pub(super) fn skip_op(&mut self, op: &'x Op) -> Result<(), DecodeError> {
        match op {
            Op::Null => {}
            Op::Boolean => _ = self.boolean()?,
            Op::Int | Op::Long | Op::LongAsFloat | Op::LongAsDouble | Op::Moment(_) => _ = self.long()?,
            Op::Float | Op::FloatAsDouble => _ = self.take(4)?,
            Op::Double => _ = self.take(8)?,
            Op::Bytes | Op::String | Op::Decimal { size: None, .. } => {
                let length = self.length()?;
                self.take(length)?;
            }
            Op::Fixed(size) | Op::Decimal { size: Some(size), .. } => _ = self.take(*size)?,
            Op::Uuid => _ = self.take(16)?,
            Op::Duration => _ = self.take(12)?,
            Op::Enum(_) => _ = self.int()?,
            Op::Array(items) => self.skip_blocks(*items, false)?,
            Op::Map(values) => self.skip_blocks(*values, true)?,
            Op::Record(record) => {
                self.enter()?;
                self.charge_values(record.fields.len() as u64)?;
                for field in &record.fields {
                    if let FieldOp::Read { op, .. } | FieldOp::Skip(op) = field {
                        self.skip(*op)?;
                    }
                }
                self.leave();
            }
            // `choose` never returns these.
            Op::Union(_) | Op::Branch { .. } | Op::Never(_) => {}
        }
        Ok(())
    }

    fn skip_blocks(&mut self, op: OpId, keys: bool) -> Result<(), DecodeError> {
        self.enter()?;
        let least = self.program.least(op) + u32::from(keys);
        loop {
            let count = self.long()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                let size = self.block_size()?;
                self.take(size)?;
                continue;
            }
            self.charge_block(count.unsigned_abs(), least)?;
            for _ in 0..count {
                if keys {
                    let length = self.length()?;
                    self.take(length)?;
                }
                self.skip(op)?;
            }
        }
        self.leave();
        Ok(())
    }
}

fn zigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}
