//! Many samples as one row: per minute, per hour, and per bucket of an answer about the past. Pure.
//!
//! A minute is closed when its hour is: the rows of an hour are made together from its samples, once, and put at the
//! end of their table. Written minute by minute, a thousand agents would dirty a thousand pages each time.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::{History, HistoryPoint, Step, Timestamp};

/// The most buckets of one answer.
pub(crate) const POINTS: u64 = 2_000;

/// The most buckets that are chosen where none were asked for: what a chart can show.
const AUTO_POINTS: u64 = 300;

/// The steps that are chosen, seconds. Beyond them: whole days.
const AUTO_STEPS: &[u64] = &[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Samples read in one slice of making rows of them: about 3 ms of the writer's time, with those rows.
const SAMPLES_PER_SLICE: usize = 8_000;

/// The numbers of one or more samples together, in the units of the database. `None`: no sample knew it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Bucket {
    /// How many samples.
    pub(crate) samples: u64,
    /// Tenths of a percent of one core.
    pub(crate) cpu_tenths: Spread,
    /// Memory, KiB.
    pub(crate) memory_kib: Spread,
    /// The memory of the last sample that knew it, KiB.
    pub(crate) memory_last_kib: Option<u64>,
    /// The most processes.
    pub(crate) process_count_max: Option<u32>,
    /// Processor time since the agent was first seen, at the end, milliseconds.
    pub(crate) cpu_ms: Option<u64>,
    /// Bytes read since then, at the end.
    pub(crate) read_bytes: Option<u64>,
    /// Bytes written since then, at the end.
    pub(crate) written_bytes: Option<u64>,
}

/// A number in the samples that knew it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Spread {
    /// How many knew it.
    pub(crate) count: u64,
    /// Its sum.
    pub(crate) sum: u64,
    /// Its maximum; zero where none knew it.
    pub(crate) max: u64,
}

impl Spread {
    /// Of one sample.
    pub(crate) fn of(value: Option<u64>) -> Spread {
        value.map_or(Spread::default(), |value| Spread { count: 1, sum: value, max: value })
    }

    fn merge(&mut self, other: Spread) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// The mean; `None` where nobody knew it.
    #[expect(clippy::cast_precision_loss, reason = "sums of tenths and KiB stay far below 2^53")]
    pub(crate) fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The maximum; `None` where nobody knew it.
    pub(crate) fn max(self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }
}

impl Bucket {
    /// Takes in what was sampled later. Exact: the order in which parts are put together makes no difference. Totals
    /// never fall, so the highest is the last.
    pub(crate) fn merge(&mut self, later: &Bucket) {
        self.samples += later.samples;
        self.cpu_tenths.merge(later.cpu_tenths);
        self.memory_kib.merge(later.memory_kib);
        self.memory_last_kib = later.memory_last_kib.or(self.memory_last_kib);
        self.process_count_max = self.process_count_max.max(later.process_count_max);
        self.cpu_ms = self.cpu_ms.max(later.cpu_ms);
        self.read_bytes = self.read_bytes.max(later.read_bytes);
        self.written_bytes = self.written_bytes.max(later.written_bytes);
    }

    #[expect(clippy::cast_precision_loss, reason = "tenths of a percent stay far below 2^53")]
    fn point(&self, at: Timestamp) -> HistoryPoint {
        HistoryPoint {
            at,
            cpu_percent_avg: self.cpu_tenths.mean().map(|tenths| tenths / 10.0),
            cpu_percent_max: self.cpu_tenths.max().map(|tenths| tenths as f64 / 10.0),
            memory_bytes_avg: self.memory_kib.mean().map(|kib| kib * 1024.0),
            memory_bytes_max: self.memory_kib.max().map(|kib| kib.saturating_mul(1024)),
            process_count_max: self.process_count_max,
        }
    }
}

/// The tables of rollups. Rows of one agent stand together within a span, and spans follow one another: a span is
/// written at the end of its table, and deleted from the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resolution {
    /// A row a minute, in spans of an hour.
    Minute,
    /// A row an hour, in spans of a day.
    Hour,
}

impl Resolution {
    /// The length of what a row is about, milliseconds.
    pub(crate) const fn row_ms(self) -> i64 {
        match self {
            Resolution::Minute => MINUTE.cast_signed() * 1000,
            Resolution::Hour => HOUR.cast_signed() * 1000,
        }
    }

    /// Rows in a span.
    pub(crate) const fn slots(self) -> i64 {
        match self {
            Resolution::Minute => 60,
            Resolution::Hour => 24,
        }
    }

    /// The length of a span, milliseconds.
    pub(crate) const fn span_ms(self) -> i64 {
        self.row_ms() * self.slots()
    }
}

/// Agents whose samples of `passes` passes are made into rows in one slice: their numbers, beginning with `first`.
pub(crate) fn slice(first: u32, passes: usize) -> RangeInclusive<u32> {
    let agents = u32::try_from(SAMPLES_PER_SLICE / passes.max(1)).unwrap_or(u32::MAX).max(1);
    first..=first.saturating_add(agents - 1)
}

/// The buckets of an answer, as they fill.
#[derive(Debug)]
pub(crate) struct Series {
    step_ms: i64,
    /// The first bucket begins so many steps after the epoch.
    first: i64,
    buckets: Vec<Bucket>,
}

impl Series {
    /// Buckets for [from, to), as long as the step says, or longer where that would be more than [`POINTS`]. The
    /// range is widened to whole buckets, so that none tells only a part of its time. Empty unless `from` is before
    /// `to`.
    pub(crate) fn new(from: Timestamp, to: Timestamp, step: Step) -> Series {
        let range_s = to.since(from).as_secs();
        let step_s = match step {
            Step::Exactly(step) => whole(step.as_secs().saturating_add(u64::from(step.subsec_nanos() > 0)).max(1)),
            Step::Auto { interval } => auto(range_s, interval),
        };
        // Up to two more buckets than the range is long begin or end outside it.
        let least = range_s.div_ceil(POINTS - 2);
        let step_s = if step_s < least { coarse(least) } else { step_s };
        Series::with(from, to, step_s)
    }

    fn with(from: Timestamp, to: Timestamp, step_s: u64) -> Series {
        let step_ms = i64::try_from(step_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        let first = from.unix_ms().div_euclid(step_ms);
        let end = if from < to { (to.unix_ms() - 1).div_euclid(step_ms) + 1 } else { first };
        let count = usize::try_from(end - first).expect("an end is after its beginning");
        Series { step_ms, first, buckets: vec![Bucket::default(); count] }
    }

    /// The same range in whole minutes: for a time of which only rollups are left.
    #[must_use]
    pub(crate) fn in_minutes(self) -> Series {
        let step_s = self.step_ms.unsigned_abs() / 1000;
        Series::with(self.from(), self.to(), step_s.next_multiple_of(MINUTE))
    }

    /// What the buckets can be filled from: the coarsest rows that fit into them, or only samples.
    pub(crate) fn resolution(&self) -> Option<Resolution> {
        [Resolution::Hour, Resolution::Minute].into_iter().find(|rows| self.step_ms % rows.row_ms() == 0)
    }

    /// The beginning of the first bucket.
    pub(crate) fn from(&self) -> Timestamp {
        self.at(0)
    }

    /// The end of the last bucket.
    pub(crate) fn to(&self) -> Timestamp {
        self.at(self.buckets.len())
    }

    fn at(&self, index: usize) -> Timestamp {
        let steps = self.first.saturating_add(i64::try_from(index).unwrap_or(i64::MAX));
        Timestamp::from_unix_ms(steps.saturating_mul(self.step_ms))
    }

    /// Takes in what was sampled at, or from, a moment. What is outside the range is left out.
    pub(crate) fn add(&mut self, at: Timestamp, bucket: &Bucket) {
        let index = at.unix_ms().div_euclid(self.step_ms) - self.first;
        if let Some(place) = usize::try_from(index).ok().and_then(|index| self.buckets.get_mut(index)) {
            place.merge(bucket);
        }
    }

    /// The answer.
    pub(crate) fn history(&self) -> History {
        History {
            from: self.from(),
            to: self.to(),
            step: Duration::from_millis(self.step_ms.unsigned_abs()),
            points: self.buckets.iter().enumerate().map(|(index, bucket)| bucket.point(self.at(index))).collect(),
        }
    }
}

/// A step beyond a minute is one of whole minutes, which rollups can answer.
fn whole(step_s: u64) -> u64 {
    if step_s > MINUTE { step_s.checked_next_multiple_of(MINUTE).unwrap_or(step_s) } else { step_s }
}

/// A step that may as well be longer: one of whole hours, beyond an hour.
fn coarse(step_s: u64) -> u64 {
    if step_s > HOUR { step_s.checked_next_multiple_of(HOUR).unwrap_or(step_s) } else { whole(step_s) }
}

/// The step that suits a range. Somewhat longer than the interval, so that a pass which is late for a moment leaves no
/// bucket empty.
fn auto(range_s: u64, interval: Duration) -> u64 {
    let interval_s = (interval * 3 / 2).as_millis().div_ceil(1000);
    let least = range_s.div_ceil(AUTO_POINTS).max(u64::try_from(interval_s).unwrap_or(u64::MAX)).max(1);
    let known = AUTO_STEPS.iter().copied().find(|step| *step >= least);
    known.unwrap_or_else(|| least.checked_next_multiple_of(DAY).unwrap_or(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_unix_ms(1_767_268_800_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn sample(cpu: Option<u64>, memory: Option<u64>, total: u64) -> Bucket {
        Bucket {
            samples: 1,
            cpu_tenths: Spread::of(cpu),
            memory_kib: Spread::of(memory),
            memory_last_kib: memory,
            process_count_max: memory.map(|_| 2),
            cpu_ms: Some(total),
            read_bytes: None,
            written_bytes: Some(total * 512),
        }
    }

    fn together(parts: &[Bucket]) -> Bucket {
        parts.iter().fold(Bucket::default(), |mut all, part| {
            all.merge(part);
            all
        })
    }

    #[test]
    fn what_is_not_known_is_left_out_of_the_mean() {
        let all = together(&[sample(None, Some(100), 1), sample(Some(30), None, 2), sample(Some(10), Some(50), 3)]);
        assert_eq!((all.samples, all.cpu_tenths.mean(), all.cpu_tenths.max()), (3, Some(20.0), Some(30)));
        assert_eq!((all.memory_kib.mean(), all.memory_last_kib), (Some(75.0), Some(50)));
        assert_eq!((all.cpu_ms, all.read_bytes, all.written_bytes), (Some(3), None, Some(1536)));
        let nothing = together(&[sample(None, None, 1)]);
        assert_eq!((nothing.cpu_tenths.mean(), nothing.memory_kib.max()), (None, None));
    }

    #[test]
    fn parts_put_together_are_the_whole() {
        let parts: Vec<Bucket> = (0..60).map(|n| sample((n % 7 != 0).then_some(n * 3), Some(n * n % 17), n)).collect();
        let whole = together(&parts);
        for size in 1..60 {
            let chunks: Vec<Bucket> = parts.chunks(size).map(together).collect();
            assert_eq!(together(&chunks), whole);
        }
    }

    #[test]
    fn buckets_begin_at_multiples_and_cover_the_range() {
        let series = Series::new(NOON + seconds(7), NOON + seconds(61), Step::Exactly(seconds(20)));
        let history = series.history();
        assert_eq!((history.from, history.to, history.step), (NOON, NOON + seconds(80), seconds(20)));
        let starts: Vec<_> = history.points.iter().map(|point| point.at.since(NOON).as_secs()).collect();
        assert_eq!(starts, [0, 20, 40, 60]);
        let exact = Series::new(NOON, NOON + seconds(60), Step::Exactly(seconds(20))).history();
        assert_eq!(exact.points.len(), 3, "the end is not in it");
        assert!(Series::new(NOON, NOON, Step::Exactly(seconds(20))).history().points.is_empty());
        assert!(Series::new(NOON, NOON - seconds(5), Step::Exactly(seconds(20))).history().points.is_empty());
    }

    #[test]
    fn never_more_than_the_limit_whatever_is_asked() {
        let (earliest, latest) = (Timestamp::from_unix_ms(i64::MIN), Timestamp::from_unix_ms(i64::MAX));
        let auto = Step::Auto { interval: seconds(10) };
        let steps = [Duration::ZERO, Duration::from_millis(1), seconds(1), seconds(90), seconds(u64::MAX)];
        for step in steps.map(Step::Exactly).into_iter().chain([auto, Step::Auto { interval: Duration::ZERO }]) {
            for (from, to) in
                [(earliest, latest), (NOON, NOON + Duration::from_millis(1)), (NOON, NOON + seconds(1_999_999))]
            {
                let history = Series::new(from, to, step).history();
                let count = history.points.len();
                assert!((1..=2_000).contains(&count), "{step:?} {from} {to}: {count}");
                assert!(history.from <= from && history.to >= to);
            }
        }
    }

    #[test]
    fn steps() {
        let step = |range: u64, step| Series::new(NOON, NOON + seconds(range), step).history().step.as_secs();
        let exactly = |range, s| step(range, Step::Exactly(seconds(s)));
        assert_eq!(exactly(3_600, 7), 7, "kept");
        assert_eq!(exactly(3_600, 90), 120, "whole minutes");
        assert_eq!(exactly(7 * DAY, 5_400), 5_400);
        assert_eq!(exactly(DAY, 1), 44, "coarsened");
        assert_eq!(exactly(30 * DAY, 1), 1_320, "to whole minutes");
        assert_eq!(exactly(365 * DAY, 1), 18_000, "to whole hours");
        let auto = |range, interval| step(range, Step::Auto { interval: seconds(interval) });
        assert_eq!((auto(900, 10), auto(900, 1), auto(3_600, 10)), (15, 5, 15));
        assert_eq!((auto(DAY, 10), auto(7 * DAY, 10), auto(90 * DAY, 10)), (300, 3_600, 43_200));
        assert_eq!(auto(900, 3_600), 7_200);
    }

    #[test]
    fn the_coarsest_rows_that_fit() {
        let rows = |step_s| Series::new(NOON, NOON + seconds(DAY), Step::Exactly(seconds(step_s))).resolution();
        assert_eq!((rows(50), rows(60), rows(1_800)), (None, Some(Resolution::Minute), Some(Resolution::Minute)));
        assert_eq!(
            (rows(3_600), rows(5_400), rows(7_200)),
            (Some(Resolution::Hour), Some(Resolution::Minute), Some(Resolution::Hour))
        );
    }

    #[test]
    fn slices_are_as_large_as_the_passes_are_few() {
        assert_eq!((slice(0, 360), slice(22, 3_600), slice(5, 1_000_000)), (0..=21, 22..=23, 5..=5));
        assert_eq!(slice(u32::MAX, 1), u32::MAX..=u32::MAX);
    }
}
