//! `multipleOf` on decimal digits: a number of 64 bits and a step with a fraction are not compared as doubles.

use jsonschema::{Keyword, ValidationError};
use serde_json::{Number, Value};

/// The keyword with its step.
pub(super) struct MultipleOf {
    step: Decimal,
    shown: String,
}

/// Digits times a power of ten, without the sign.
#[derive(Clone, Copy)]
struct Decimal {
    /// At most 20 digits.
    digits: u128,
    power: i32,
}

impl Decimal {
    fn of(number: &Number) -> Option<Self> {
        if let Some(digits) = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs)) {
            return Some(Self { digits: digits.into(), power: 0 });
        }
        let printed = format!("{:e}", number.as_f64()?.abs());
        let (digits, power) = printed.split_once('e')?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let power = power.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        Some(Self { digits: format!("{whole}{fraction}").parse().ok()?, power })
    }

    /// Whether this is an integral number of steps.
    fn is_multiple_of(self, step: Self) -> bool {
        if self.digits == 0 {
            return true;
        }
        let tens = |power: i32| 10_u128.checked_pow(power.unsigned_abs());
        match self.power - step.power {
            power @ 0.. => (0..power)
                .try_fold(self.digits.checked_rem(step.digits), |left, _| {
                    // Both are below 2^67, so that ten times one of them is below 2^128.
                    Some(left?.checked_mul(10)?.checked_rem(step.digits))
                })
                .flatten()
                .is_some_and(|left| left == 0),
            // A step that does not fit is larger than the number.
            power => tens(power)
                .and_then(|tens| step.digits.checked_mul(tens))
                .is_some_and(|step| self.digits.checked_rem(step) == Some(0)),
        }
    }
}

impl MultipleOf {
    pub(super) fn new(step: &Value) -> Result<Self, ValidationError<'_>> {
        let decimal = step.as_number().and_then(Decimal::of).filter(|step| step.digits > 0);
        match decimal {
            Some(decimal) => Ok(Self { step: decimal, shown: step.to_string() }),
            None => Err(ValidationError::custom("`multipleOf` is no number above 0")),
        }
    }
}

impl<'i> Keyword<'i> for MultipleOf {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom(format!("the value is not a multiple of {}", self.shown)))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_number().and_then(Decimal::of).is_none_or(|number| number.is_multiple_of(self.step))
    }
}
