//! Looks at all of the database, before somebody needs what is damaged.

use super::{Reader, StoreError};

impl Reader {
    /// Reads every page of every table and looks whether they are whole, one table after another, so that the log is held
    /// up by none for long. If it is `suspected` that somebody else wrote into the file, also whether each index has what its
    /// table has, which takes ten times as long: pages of two states may each be whole. Reads all of the file: not for an
    /// async task. What is found is told to the writer, which replaces the database.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with what was found first; when the database cannot be read, or is closed or replaced
    /// meanwhile.
    pub fn check(&self, suspected: bool) -> Result<(), StoreError> {
        // https://sqlite.org/pragma.html#pragma_integrity_check
        let pragma = if suspected { "pragma_integrity_check" } else { "pragma_quick_check" };
        self.read_apart(|connection| {
            tables(connection)?.iter().try_for_each(|table| {
                let mut check = connection.prepare(&format!("select * from {pragma}(?1)"))?;
                let found = check.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
                match found.into_iter().find(|line| line != "ok") {
                    None => Ok(()),
                    Some(what) => {
                        let path = connection.path().unwrap_or_default().into();
                        Err(StoreError::Damaged { path, what: format!("{table}: {what}").into() })
                    }
                }
            })
        })
    }
}

fn tables(connection: &rusqlite::Connection) -> Result<Vec<String>, StoreError> {
    let sql = "select name from pragma_table_list where schema = 'main' and type = 'table'";
    Ok(connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}
