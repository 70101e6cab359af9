//! Encodes messages with contents in every field, from their [`Shape`] and a seed.
//!
//! This encoder does not use `message!`: it is independent, so that a round trip through a table compares two writers. Tagged
//! values are never the default, which the tables would omit.

use offtake_wire::{Kind, Shape};

/// Random choices from a seed (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
}

/// A message of this shape. `full`: nothing null, nothing empty, and every tag; otherwise at random.
pub(crate) fn sample(shape: &Shape, dice: &mut Dice, full: bool) -> Vec<u8> {
    let mut out = Vec::new();
    fields(&mut out, shape, dice, full, false);
    out
}

fn fields(out: &mut Vec<u8>, shape: &Shape, dice: &mut Dice, full: bool, tagged: bool) {
    for field in shape.fields.iter().filter(|field| field.tag.is_none()) {
        value(out, &field.kind, shape.flexible, dice, full, tagged);
    }
    if !shape.flexible {
        return;
    }
    let tagged: Vec<_> = shape.fields.iter().filter(|field| field.tag.is_some()).collect();
    let tagged: Vec<_> = tagged.into_iter().filter(|_| full || dice.below(2) == 0).collect();
    varint(out, tagged.len() as u64);
    for field in tagged {
        let mut bytes = Vec::new();
        value(&mut bytes, &field.kind, true, dice, full, true);
        varint(out, field.tag.unwrap().into());
        varint(out, bytes.len() as u64);
        out.extend(bytes);
    }
}

fn value(out: &mut Vec<u8>, kind: &Kind, compact: bool, dice: &mut Dice, full: bool, tagged: bool) {
    let null = |nullable: bool, dice: &mut Dice| nullable && !full && !tagged && dice.below(3) == 0;
    let some = |dice: &mut Dice| if full || tagged { 1 + dice.below(2) } else { dice.below(4) };
    match kind {
        Kind::Bool => out.push(if tagged { 1 } else { dice.below(2) as u8 }),
        Kind::I8 => out.extend(number(dice, tagged).to_be_bytes().last()),
        Kind::I16 | Kind::U16 => out.extend(&number(dice, tagged).to_be_bytes()[6..]),
        Kind::I32 | Kind::U32 => out.extend(&number(dice, tagged).to_be_bytes()[4..]),
        Kind::I64 => out.extend(number(dice, tagged).to_be_bytes()),
        Kind::F64 => out.extend((number(dice, tagged) as f64).to_be_bytes()),
        Kind::Uuid => out.extend((u128::from(dice.roll()) << 64 | 1).to_be_bytes()),
        Kind::String { nullable } => {
            if null(*nullable, dice) {
                return length(out, None, compact, 2);
            }
            let text: String =
                (0..some(dice)).map(|_| ['a', 'Z', '-', 'ß', '中'][dice.below(5) as usize]).collect();
            length(out, Some(text.len()), compact, 2);
            out.extend(text.as_bytes());
        }
        Kind::Bytes { nullable } => {
            if null(*nullable, dice) {
                return length(out, None, compact, 4);
            }
            let bytes: Vec<u8> = (0..some(dice) * 3).map(|_| dice.roll() as u8).collect();
            length(out, Some(bytes.len()), compact, 4);
            out.extend(bytes);
        }
        Kind::Array { of, nullable } => {
            if null(*nullable, dice) {
                return length(out, None, compact, 4);
            }
            let count = some(dice) as usize;
            length(out, Some(count), compact, 4);
            (0..count).for_each(|_| value(out, of, compact, dice, full, false));
        }
        Kind::Struct { shape, nullable } => {
            if *nullable {
                let null = null(true, dice);
                out.push(if null { 0xff } else { 1 });
                if null {
                    return;
                }
            }
            fields(out, shape, dice, full, tagged);
        }
    }
}

/// Small, extreme or arbitrary numbers; for tagged fields, none that is a default somewhere.
fn number(dice: &mut Dice, tagged: bool) -> i64 {
    match dice.below(4) {
        _ if tagged => 1 + dice.below(100) as i64,
        0 => dice.below(4) as i64 - 1,
        1 => i64::MAX,
        2 => i64::MIN,
        _ => dice.roll() as i64,
    }
}

fn length(out: &mut Vec<u8>, length: Option<usize>, compact: bool, width: usize) {
    match length {
        _ if compact => varint(out, length.map_or(0, |length| length as u64 + 1)),
        _ => out.extend(&length.map_or(-1, |length| length as i64).to_be_bytes()[8 - width..]),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
