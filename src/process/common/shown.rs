//! Which processes a scan has shown, where the list of them tells at once who each is.

use std::collections::HashSet;

use crate::model::ProcessKey;

/// The processes shown by the scan before, and by the one that goes on. Forgets those that are no longer listed.
#[derive(Default)]
pub(in crate::process) struct Shown {
    shown: HashSet<ProcessKey>,
    before: HashSet<ProcessKey>,
}

impl Shown {
    /// Begins a scan.
    pub(in crate::process) fn begin(&mut self) {
        std::mem::swap(&mut self.shown, &mut self.before);
        self.shown.clear();
    }

    /// Takes in one that is listed; whether the scan before did not show it.
    pub(in crate::process) fn is_new(&mut self, process: ProcessKey) -> bool {
        self.shown.insert(process);
        !self.before.contains(&process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pid;

    #[test]
    fn who_is_new() {
        let key = |pid, start_ticks| ProcessKey { start_ticks, pid: Pid::new(pid).unwrap() };
        let mut shown = Shown::default();
        let mut scan = |listed: &[ProcessKey]| {
            shown.begin();
            listed.iter().map(|key| shown.is_new(*key)).collect::<Vec<_>>()
        };
        assert_eq!(scan(&[key(1, 0), key(2, 5)]), [true, true]);
        assert_eq!(scan(&[key(1, 0), key(2, 6), key(3, 7)]), [false, true, true], "2 is another one now");
        assert_eq!(scan(&[key(1, 0)]), [false]);
        assert_eq!(scan(&[key(1, 0), key(3, 7)]), [false, true], "forgotten when it was not listed");
    }
}
