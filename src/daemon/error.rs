//! What can go wrong with a daemon.

use std::io;
use std::net::SocketAddr;

use crate::ingest::SocketError;
use crate::monitor::NotRecorded;
use crate::store::StoreError;
use crate::supervise::{Failure, PartError};
use crate::web::SecretError;

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another daemon has the state directory.
    #[error("not started")]
    Held(#[source] StoreError),
    /// The endpoint's address cannot be had.
    #[error("cannot listen on {listen}: stop the program that does, or set another address with --listen")]
    Listen {
        /// Which address.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The Unix socket cannot be had.
    #[error("no socket")]
    Socket(#[from] SocketError),
    /// The endpoint's token cannot be had.
    #[error("no token for the endpoint")]
    Token(#[from] SecretError),
    /// The database cannot be used.
    #[error("cannot use the database")]
    Store(#[source] StoreError),
    /// The processes of this machine cannot be seen.
    #[error("cannot watch processes")]
    Processes {
        /// Why not.
        source: Failure,
    },
}

impl StartError {
    pub(super) fn from_store(error: StoreError) -> StartError {
        match error {
            StoreError::Locked { .. } => StartError::Held(error),
            other => StartError::Store(other),
        }
    }
}

/// Why a daemon ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A part of it could not be started.
    #[error("cannot start a part of the daemon")]
    Start(#[from] io::Error),
    /// A part of it failed.
    #[error("the daemon ended")]
    Part(#[from] PartError),
}

/// Why another configuration did not come into force. The old one still is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Too much is waiting already: try again.
    #[error("the daemon is too busy")]
    Busy,
    /// The daemon has ended.
    #[error("the daemon has ended")]
    Stopped,
    /// The endpoint's token cannot be had.
    #[error("no token for the endpoint")]
    Token(#[from] SecretError),
    /// Without its token the endpoint would stand open: it goes on listening where it does until the next start.
    #[error("{listen} can be reached from beyond this host until the next start: keep api.token_file, or restart")]
    Unguarded {
        /// Where it listens.
        listen: SocketAddr,
    },
    /// The socket cannot be given its new permissions.
    #[error("cannot change the socket")]
    Socket(#[from] SocketError),
}

impl From<NotRecorded> for ReloadError {
    fn from(error: NotRecorded) -> ReloadError {
        match error {
            NotRecorded::Stopped => ReloadError::Stopped,
            _ => ReloadError::Busy,
        }
    }
}
