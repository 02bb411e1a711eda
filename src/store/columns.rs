//! How numbers stand in the database.

use rusqlite::Row;
use rusqlite::types::Type;

use super::StoreError;
use crate::model::{AgentNumber, Io, Severity, Timestamp};
use crate::rollup::Resolution;

/// Kinds of the journal's entries, as in the schema.
pub(super) const EVENT: i64 = 0;
pub(super) const ERROR: i64 = 1;
pub(super) const FIRED: i64 = 2;
pub(super) const ENDED: i64 = 3;
pub(super) const REPEATED: i64 = 4;

/// The order of `Severity` is the order of their numbers in the schema.
pub(super) fn severity_number(severity: Severity) -> i64 {
    severity as i64
}

pub(super) fn severity(row: &Row<'_>, column: usize) -> rusqlite::Result<Severity> {
    match row.get(column)? {
        0 => Ok(Severity::Info),
        1 => Ok(Severity::Warning),
        2 => Ok(Severity::Critical),
        other => {
            let error = format!("{other} is no severity");
            Err(rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, error.into()))
        }
    }
}

/// The kernel counts storage I/O in sectors, proc_pid_io(5): a third of the digits.
const SECTOR: u64 = 512;

/// Bytes of storage I/O: sectors, or below zero what is no multiple of them.
#[expect(clippy::cast_possible_wrap, reason = "the highest multiple of a sector, and what is checked")]
pub(super) fn pack(bytes: u64) -> i64 {
    match (bytes % SECTOR, i64::try_from(bytes)) {
        (0, _) => (bytes / SECTOR) as i64,
        (_, Ok(bytes)) => -1 - bytes,
        // More than 8 exbibytes, to the next sector.
        (_, Err(_)) => (bytes / SECTOR) as i64,
    }
}

/// What was packed.
pub(super) fn unpack(packed: i64) -> u64 {
    match u64::try_from(packed) {
        Ok(sectors) => sectors.saturating_mul(SECTOR),
        Err(_) => (-1 - packed).unsigned_abs(),
    }
}

/// Both counters; `None` unless both are known.
pub(super) fn unpack_io(read: Option<i64>, written: Option<i64>) -> Option<Io> {
    Some(Io { read_bytes: unpack(read?), written_bytes: unpack(written?) })
}

/// The lowest key of a pass.
pub(super) fn first_key(tick: u64) -> Result<u64, StoreError> {
    let fits = |key: &u64| i64::try_from(*key).is_ok();
    tick.checked_mul(AgentNumber::COUNT.into()).filter(fits).ok_or(StoreError::Value { what: "a tick" })
}

/// The agent's number in a key.
#[expect(clippy::cast_possible_truncation, reason = "its lower bits")]
pub(super) fn key_agent(key: u64) -> u32 {
    (key % u64::from(AgentNumber::COUNT)) as u32
}

/// A percentage in tenths; what is no number is not known.
pub(super) fn tenths(percent: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
    percent.is_finite().then(|| (percent * 10.0).round() as u64)
}

pub(super) fn from_tenths(tenths: Option<i64>) -> Option<f64> {
    tenths.map(|tenths| tenths as f64 / 10.0)
}

/// A load or a percentage in hundredths; what is no number is not known.
pub(super) fn hundredths(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates")]
    number.is_finite().then(|| (number * 100.0).round() as i64)
}

pub(super) fn from_hundredths(hundredths: Option<i64>) -> Option<f64> {
    hundredths.map(|hundredths| hundredths as f64 / 100.0)
}

/// Memory in KiB.
pub(super) fn kib(bytes: u64) -> u64 {
    bytes / 1024
}

/// Memory in bytes.
pub(super) fn from_kib(kib: Option<u64>) -> Option<u64> {
    kib.map(|kib| kib.saturating_mul(1024))
}

/// Bits below the span in the key of a rollup.
const SPAN_BITS: u32 = 26;

/// Bits below the agent's number there.
const SLOT_BITS: u32 = 6;

/// The lowest key that rollups of a span of time have.
pub(super) fn span_key(span: i64) -> i64 {
    span << SPAN_BITS
}

/// The span of a rollup's key.
pub(super) fn key_span(key: i64) -> i64 {
    key >> SPAN_BITS
}

/// The key of an agent's rollup of the minute, or hour, that begins at `at`.
pub(super) fn rollup_key(rows: Resolution, agent: AgentNumber, at: Timestamp) -> i64 {
    let row = at.unix_ms().div_euclid(rows.row_ms());
    let (span, slot) = (row.div_euclid(rows.slots()), row.rem_euclid(rows.slots()));
    span_key(span) | i64::from(agent.get()) << SLOT_BITS | slot
}

/// When the minute, or hour, of a rollup's key begins.
pub(super) fn rollup_at(rows: Resolution, key: i64) -> Timestamp {
    let slot = key & ((1 << SLOT_BITS) - 1);
    Timestamp::from_unix_ms((key_span(key) * rows.slots() + slot).saturating_mul(rows.row_ms()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!((first_key(3).unwrap(), key_agent(3 << 20 | 77)), (3 << 20, 77));
        assert!(first_key(1 << 43).is_err() && first_key(u64::MAX).is_err());
        assert_eq!((tenths(12.34), tenths(399.96), tenths(f64::NAN)), (Some(123), Some(4000), None));
    }

    #[test]
    fn storage_counters_are_exact() {
        for bytes in [0, 1, 511, 512, 513, 4096, 5_000_000_001, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX - 511] {
            assert_eq!(unpack(pack(bytes)), bytes);
        }
        assert_eq!((pack(4096), pack(0), pack(7)), (8, 0, -8));
        assert_eq!(unpack(pack(u64::MAX)), u64::MAX - 511);
    }

    #[test]
    fn keys_of_rollups() {
        let agent = AgentNumber::new(AgentNumber::COUNT - 1).unwrap();
        for ms in [0, 1_767_268_800_000, 1_767_272_340_000, -60_000, -7_200_000, i64::MIN, i64::MAX] {
            for rows in [Resolution::Minute, Resolution::Hour] {
                let at = Timestamp::from_unix_ms(ms).unix_ms().div_euclid(rows.row_ms()) * rows.row_ms();
                let at = Timestamp::from_unix_ms(at);
                let key = rollup_key(rows, agent, at);
                assert_eq!(rollup_at(rows, key), at);
                assert_eq!(key_span(key), at.unix_ms().div_euclid(rows.span_ms()));
                assert!(key >= span_key(key_span(key)) && key < span_key(key_span(key) + 1));
            }
        }
    }
}
