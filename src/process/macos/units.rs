//! What macOS counts in, and what we do. No calls: so they are tested wherever this is built.

use std::num::NonZeroU32;

/// What a tick of the machine's clock lasts, as a fraction of nanoseconds: mach_timebase_info(3). 1/1 on Intel, 125/3 on
/// Apple silicon, where whoever takes ticks for nanoseconds is 41.7 times too low.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timebase {
    numer: NonZeroU32,
    denom: NonZeroU32,
}

impl Timebase {
    /// `None` for what is no fraction to count with.
    pub(super) fn new(numer: u32, denom: u32) -> Option<Timebase> {
        Some(Timebase { numer: NonZeroU32::new(numer)?, denom: NonZeroU32::new(denom)? })
    }

    /// Microseconds that so many ticks last, rounded down; more than 64 bits can say are as many as they can.
    pub(super) fn us(self, ticks: u64) -> u64 {
        let nanoseconds = u128::from(ticks) * u128::from(self.numer.get()) / u128::from(self.denom.get());
        u64::try_from(nanoseconds / 1_000).unwrap_or(u64::MAX)
    }
}

/// A moment that the kernel wrote down as a `timeval`: microseconds since the Unix epoch. `None` for one that cannot be.
pub(super) fn moment_us(seconds: i64, us: i64) -> Option<u64> {
    let us = u64::try_from(us).ok().filter(|us| *us < 1_000_000)?;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(us)
}

/// Bytes of so many pages.
pub(super) fn pages_bytes(pages: u64, page_bytes: u64) -> u64 {
    pages.saturating_mul(page_bytes)
}

/// The load of the last 1, 5 and 15 minutes, from `struct loadavg` of the `sysctl` `vm.loadavg`, sys/resource.h: three
/// fixed-point numbers and, after a gap, what one is. `None` for anything else.
pub(super) fn loads(bytes: &[u8]) -> Option<[f64; 3]> {
    let (numbers, rest) = bytes.split_first_chunk::<12>()?;
    let scale = i64::from_ne_bytes(*rest.split_first_chunk::<4>()?.1.first_chunk()?);
    // What is beyond would be no load, and every one of these can be said exactly.
    let one = f64::from(u32::try_from(scale).ok().filter(|scale| *scale > 0)?);
    let number = |at: usize| u32::from_ne_bytes(numbers[at * 4..][..4].try_into().expect("four bytes"));
    Some([0, 1, 2].map(|at| f64::from(number(at)) / one))
}

/// A number of 32 or 64 bits, as a `sysctl` of one gives it.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => Some(u32::from_ne_bytes(bytes.try_into().ok()?).into()),
        8 => Some(u64::from_ne_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_either_machine() {
        let (apple, intel) = (Timebase::new(125, 3).unwrap(), Timebase::new(1, 1).unwrap());
        for (ticks, apple_us, intel_us) in [
            (0, 0, 0),
            (23, 0, 0),
            (24, 1, 0),
            (24_000_000, 1_000_000, 24_000),
            (1_000_000_000, 41_666_666, 1_000_000),
            // A year of one core.
            (24_000_000 * 31_536_000, 31_536_000_000_000, 756_864_000_000),
            (u64::MAX, 768_614_336_404_564_650, 18_446_744_073_709_551),
        ] {
            assert_eq!((apple.us(ticks), intel.us(ticks)), (apple_us, intel_us), "{ticks}");
        }
        assert_eq!(Timebase::new(u32::MAX, 1).unwrap().us(u64::MAX), u64::MAX);
        assert_eq!((Timebase::new(0, 3), Timebase::new(125, 0)), (None, None));
    }

    #[test]
    fn more_ticks_are_never_less_time() {
        let apple = Timebase::new(125, 3).unwrap();
        let times: Vec<u64> = (0..10_000).map(|ticks| apple.us(u64::MAX / 2 + ticks)).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn moments() {
        assert_eq!(moment_us(1_767_225_600, 7), Some(1_767_225_600_000_007));
        assert_eq!(moment_us(0, 999_999), Some(999_999));
        for (seconds, us) in [(-1, 0), (0, -1), (0, 1_000_000), (i64::MAX, 0)] {
            assert_eq!(moment_us(seconds, us), None, "{seconds} {us}");
        }
    }

    #[test]
    fn pages() {
        assert_eq!(pages_bytes(3, 16_384), 49_152);
        assert_eq!(pages_bytes(u64::MAX, 16_384), u64::MAX);
    }

    #[test]
    fn loads_are_fractions() {
        let of = |numbers: [u32; 3], scale: i64| {
            let numbers = numbers.iter().flat_map(|number| number.to_ne_bytes());
            loads(&numbers.chain([0; 4]).chain(scale.to_ne_bytes()).collect::<Vec<u8>>())
        };
        assert_eq!(of([2048, 1024, 512], 2048), Some([1.0, 0.5, 0.25]));
        assert_eq!(of([u32::MAX, 0, 0], 1), Some([4_294_967_295.0, 0.0, 0.0]));
        for scale in [0, -1, i64::MAX] {
            assert_eq!(of([1, 1, 1], scale), None, "{scale}");
        }
        assert_eq!(loads(&[0; 23]), None);
        assert_eq!(loads(&[]), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(number(&7u32.to_ne_bytes()), Some(7));
        assert_eq!(number(&(1u64 << 40).to_ne_bytes()), Some(1 << 40));
        assert_eq!((number(&[]), number(&[1; 5])), (None, None));
    }
}
