//! The exponential, as one fixed sequence of float operations on every machine.
//!
//! The C library's `expf` differs between systems and can't be vectorised; this one is within 2 units in
//! the last place and gives the same bits everywhere.

/// Adding this rounds a small float to an integer (nearest even) in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts: the first has few enough bits that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Below this the result is 0 (it would be subnormal).
const LOWEST: f32 = -87.3;
/// Arguments above this count as this, so that the result stays finite.
const HIGHEST: f32 = 88.0;

/// e to the power of `x`: 0 below -87.3, e^88 above 88, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = if x > HIGHEST { HIGHEST } else { x };
    // x = n ln 2 + r with |r| <= ln 2 / 2.
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_HIGH, x);
    let r = n.mul_add(-LN2_LOW, r);
    // The Taylor series: the first term left out is below 6e-9.
    let p = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
    let p = p.mul_add(r, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r, 1.0);
    let p = p.mul_add(r, 1.0);
    // Shifting by 23 keeps only `n` of the shifted sum, at the place of the exponent.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    // A mask and not a choice between values: the compiler would branch around the polynomial, value by value.
    let keep = if x < LOWEST { 0 } else { u32::MAX };
    f32::from_bits((p * power).to_bits() & keep)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in 0..2_000_000 {
            let x = -87.2 + i as f32 * (175.0 / 2_000_000.0);
            let exact = f64::from(x).exp();
            let unit = f64::from(f32::EPSILON) * 2f64.powi(exact.log2().floor() as i32);
            worst = worst.max((f64::from(exp(x)) - exact).abs() / unit);
        }
        assert!(worst < 2.0, "{worst} units");
    }

    #[test]
    fn exp_handles_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e4), 0.0);
        assert!(exp(f32::INFINITY) > 1e38 && exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }
}
