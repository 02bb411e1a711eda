//! What should be told of an alert, by definition: every look is judged anew from all that was seen and told before. Slow
//! and simple on purpose; it knows nothing of the program.

/// What one look shows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Seen {
    /// Beyond the threshold.
    High,
    /// Between the threshold and where it is over.
    Middle,
    /// Where it is over.
    Low,
    /// Nothing is known.
    Nothing,
}

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) seen: Seen,
    /// Another alert says it all.
    pub(crate) silenced: bool,
    /// Seconds since the look before.
    pub(crate) after: u64,
}

/// What is told.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Told {
    Fires,
    Again,
    Ends,
}

/// What is to be told at which look. `hold` and `repeat`: seconds.
pub(crate) fn told(looks: &[Look], hold: u64, repeat: u64) -> Vec<(usize, Told)> {
    let mut all: Vec<(usize, Told)> = Vec::new();
    for (now, look) in looks.iter().enumerate() {
        let last = all.last().copied();
        let fires = matches!(last, Some((_, Told::Fires | Told::Again)));
        let what = match (fires, look.seen) {
            (_, Seen::Nothing) | (false, Seen::Middle | Seen::Low) => None,
            (false, Seen::High) => (!look.silenced && held(looks, now, last) >= hold).then_some(Told::Fires),
            (true, Seen::Low) => Some(Told::Ends),
            (true, Seen::High | Seen::Middle) => {
                let (then, _) = last.unwrap();
                let since: u64 = looks[then + 1..=now].iter().map(|look| look.after).sum();
                (!look.silenced && since >= repeat).then_some(Told::Again)
            }
        };
        all.extend(what.map(|what| (now, what)));
    }
    all
}

/// For how long it was seen to be high without a break, up to look `now`. Looks that show nothing do not count.
fn held(looks: &[Look], now: usize, last: Option<(usize, Told)>) -> u64 {
    let begin = last.map_or(0, |(then, _)| then + 1);
    let known: Vec<&Look> = looks[begin..=now].iter().filter(|look| look.seen != Seen::Nothing).collect();
    let high: Vec<&&Look> = known.iter().rev().take_while(|look| look.seen == Seen::High).collect();
    // The first of them only begins it.
    high.iter().rev().skip(1).map(|look| look.after).sum()
}

/// What must be so whatever was seen.
pub(crate) fn broken_promise(looks: &[Look], told: &[(usize, Told)], hold: u64, repeat: u64) -> Option<String> {
    let time = |from: usize, to: usize| looks[from + 1..=to].iter().map(|look| look.after).sum::<u64>();
    for (place, (at, what)) in told.iter().enumerate() {
        let before = place.checked_sub(1).map(|place| told[place]);
        let wrong = match (what, before) {
            (Told::Fires, Some((_, Told::Fires | Told::Again))) => Some("it fires twice"),
            (Told::Again | Told::Ends, None | Some((_, Told::Ends))) => Some("it does not fire"),
            (Told::Again, Some((then, _))) if time(then, *at) < repeat => Some("told again too soon"),
            (Told::Fires, _) => {
                let begin = before.map_or(0, |(then, _)| then);
                (time(begin, *at) < hold).then_some("it fires too soon")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Some(format!("{wrong} at {at}: {told:?}"));
        }
    }
    None
}
