//! What comes from outside: stored once, however often it is told.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{entry, execute, groups};
use crate::model::{AgentId, AgentNumber, Body, Recorded, Resolve, StoredReport, Write};
use crate::monitor::{NotRecorded, Stored};
use crate::store::StoreError;
use crate::store::columns::{ERROR, EVENT};

/// What became of something from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Outcome {
    /// It is the line of this number.
    New(i64),
    /// It was told before: the line of this number.
    Known(i64),
    /// Something else was told under its name.
    Conflict,
    /// It is resolved.
    Resolved,
    /// There is nothing such to resolve.
    Unknown,
}

impl Outcome {
    /// The line that is new.
    pub(in crate::store) fn new_entry(self) -> Option<i64> {
        match self {
            Outcome::New(id) => Some(id),
            Outcome::Known(_) | Outcome::Conflict | Outcome::Resolved | Outcome::Unknown => None,
        }
    }

    /// What is told about a write: to everybody, if something is new, and to whoever wrote it.
    pub(in crate::store) fn told(self, write: Write) -> (Option<Recorded>, Result<Stored, NotRecorded>) {
        let recorded = |id| match write {
            Write::Report(told) => Some(Recorded { id: Some(id), entry: told.entry }),
            Write::Resolve { .. } => None,
        };
        match self {
            Outcome::New(id) => {
                let recorded = recorded(id);
                (recorded.clone(), Ok(Stored { entries: recorded.into_iter().collect(), duplicate: false }))
            }
            Outcome::Known(id) => (None, Ok(Stored { entries: recorded(id).into_iter().collect(), duplicate: true })),
            Outcome::Resolved => (None, Ok(Stored::default())),
            Outcome::Conflict => (None, Err(NotRecorded::Conflict)),
            Outcome::Unknown => (None, Err(NotRecorded::Unknown)),
        }
    }
}

pub(super) fn write(
    connection: &Connection,
    write: &Write,
    errors_of: &mut BTreeSet<AgentNumber>,
) -> Result<Outcome, StoreError> {
    let changed = match write {
        Write::Report(told) => {
            let outcome = report(connection, told)?;
            if let (Outcome::New(_), Body::Error(_), Some((number, _))) = (outcome, &told.entry.body, &told.entry.agent)
            {
                errors_of.insert(*number);
            }
            return Ok(outcome);
        }
        Write::Resolve { what: Resolve::Error { id }, at } => {
            groups::resolve_one(connection, *id, *at)?.map(|agent| agent.into_iter().collect())
        }
        Write::Resolve { what: Resolve::Group { fingerprint, agent }, at } => {
            groups::resolve_all(connection, fingerprint, agent.as_ref().map(AgentId::as_str), *at)?
        }
    };
    let Some(changed): Option<Vec<AgentNumber>> = changed else { return Ok(Outcome::Unknown) };
    errors_of.extend(changed);
    Ok(Outcome::Resolved)
}

fn report(connection: &Connection, told: &StoredReport) -> Result<Outcome, StoreError> {
    if let Some(known) = known(connection, told)? {
        return Ok(known);
    }
    let id = match &told.entry.body {
        Body::Error(error) => groups::error(connection, &told.entry, error, &told.usage)?,
        Body::Event(_) | Body::Alert(_) => entry(connection, &told.entry)?,
    };
    if told.client_id.is_some() || told.uid.is_some() {
        let sql = "update journal set client_id = ?2, writer_uid = ?3 where id = ?1";
        execute(connection, sql, params![id, told.client_id, told.uid])?;
    }
    Ok(Outcome::New(id))
}

/// What is stored under the name that it was told with.
fn known(connection: &Connection, told: &StoredReport) -> Result<Option<Outcome>, StoreError> {
    let (Some(client_id), Some((agent, _))) = (&told.client_id, &told.entry.agent) else { return Ok(None) };
    let (kind, what, message, metadata, stack, fingerprint) = match &told.entry.body {
        Body::Event(event) => (EVENT, &event.event_type, &event.message, &event.metadata, None, None),
        Body::Error(error) => {
            let fingerprint = error.fingerprint.as_deref();
            (ERROR, &error.error_type, &error.message, &error.metadata, error.stack.as_deref(), fingerprint)
        }
        Body::Alert(_) => return Ok(None),
    };
    let sql = "select j.id,
                      j.type = ?4 and j.message = ?5 and coalesce(j.metadata, '{}') = ?6 and j.stack_trace is ?7
                      and g.fingerprint is ?8
                 from journal j left join error_group g on g.id = j.error_group
                where j.agent_number = ?1 and j.kind = ?2 and j.client_id = ?3";
    let values = params![agent.get(), kind, client_id, what, message, metadata.as_str(), stack, fingerprint];
    let outcome =
        |row: &rusqlite::Row<'_>| Ok(if row.get(1)? { Outcome::Known(row.get(0)?) } else { Outcome::Conflict });
    Ok(connection.prepare_cached(sql)?.query_row(values, outcome).optional()?)
}
