//! Why the program ends otherwise than well, and with which exit code.

use std::fmt;

use agent_monitor::daemon::StartError;

/// An error and the code it ends the program with.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    error: anyhow::Error,
}

/// The contract's exit codes, after sysexits(3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// 1: failed while running.
    Failed,
    /// 69: a port, socket or daemon is not available.
    Unavailable,
    /// 75: another daemon holds the state directory.
    Held,
    /// 78: the configuration or the database cannot be used.
    Unusable,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Failure {
        Failure { kind, error: error.into() }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Unavailable => 69,
            Kind::Held => 75,
            Kind::Unusable => 78,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(Kind::Failed, error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let kind = match &error {
            StartError::Held(_) => Kind::Held,
            StartError::Listen { .. } | StartError::Socket(_) => Kind::Unavailable,
            StartError::Store(_) | StartError::Token(_) => Kind::Unusable,
            StartError::Processes { .. } => Kind::Failed,
        };
        Failure::new(kind, error)
    }
}

/// The whole chain, on one line unless a part of it has several.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}
