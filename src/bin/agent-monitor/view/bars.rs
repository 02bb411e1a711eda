//! Numbers as a line of bars.

/// Eighths of a line, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bar for each value, the highest being full; a gap where there is none.
pub(crate) fn bars(values: &[Option<f64>]) -> String {
    let highest = values.iter().flatten().fold(0.0_f64, |most, value| most.max(*value));
    let step = |value: f64| (1_u8..8).filter(|eighth| value * 8.0 > highest * f64::from(*eighth)).count();
    values.iter().map(|value| value.map_or(' ', |value| BARS[step(value)])).collect()
}

/// The same in no more than so many: of those that share a bar the highest counts.
pub(crate) fn squeezed(values: &[Option<f64>], room: usize) -> String {
    let share = values.len().div_ceil(room.max(1)).max(1);
    let highest = |some: &[Option<f64>]| some.iter().flatten().copied().max_by(f64::total_cmp);
    bars(&values.chunks(share).map(highest).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_eighths_of_the_highest() {
        assert_eq!(bars(&[Some(0.0), Some(12.5), Some(12.6), None, Some(100.0)]), "▁▁▂ █");
        assert_eq!((bars(&[Some(0.0); 3]), bars(&[])), ("▁▁▁".to_owned(), String::new()));
    }

    #[test]
    fn a_peak_is_not_lost() {
        let values: Vec<Option<f64>> = (0..100).map(|n| Some(if n == 41 { 8.0 } else { 1.0 })).collect();
        assert_eq!(squeezed(&values, 10), "▁▁▁▁█▁▁▁▁▁");
        assert_eq!(squeezed(&values[..10], 10), "██████████");
        assert_eq!((squeezed(&[None; 7], 2), squeezed(&[], 0)), ("  ".to_owned(), String::new()));
    }
}
