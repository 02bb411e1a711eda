//! From the schema that is there to the one this program knows.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// In order; the position is the `user_version` that each one starts from. What was released is never changed.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001_initial.sql")];

/// The schema this program knows.
#[expect(clippy::cast_possible_truncation, reason = "there are few")]
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Brings the schema to [`VERSION`], one transaction a step: a crash leaves the old one or the new one.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sqlite { doing: "bring the database to the schema of this version", source };
    let from: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    for (version, sql) in (1..=VERSION).zip(MIGRATIONS).skip(from as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
