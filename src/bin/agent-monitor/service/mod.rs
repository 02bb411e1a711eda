//! `install-service` and `uninstall-service`: the daemon under systemd or launchd. What is to be done is a plan, made by
//! looking only; it is printed, or carried out. What somebody edited is never written over.

mod launchd;
mod plan;
mod seal;
mod systemd;
#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::cli::ServiceOptions;
use crate::environment;
use crate::failure::Failure;
use plan::Step;
use seal::{Seal, Sealed};

/// What both managers call it.
const NAME: &str = "agent-monitor";
/// The configuration that a service of the host begins with: every key, with its default.
const CONFIG: &str = include_str!("../../../../packaging/agent-monitor.toml");
/// Where it is.
const CONFIG_PATH: &str = "etc/agent-monitor.toml";

/// Whose service.
enum Scope {
    /// The host's.
    Host,
    /// One user's.
    User {
        /// Where the user's service files are: below `~/.config` for systemd, the home itself for launchd.
        folder: PathBuf,
        /// Whose session launchd starts it in.
        uid: u32,
    },
}

/// Where a service is to be.
struct Place {
    /// The root of the file system: `/`, or what stands for it in a test.
    root: PathBuf,
    /// The program that it runs.
    program: PathBuf,
    scope: Scope,
    /// Whether the manager runs, so that it can be told.
    is_running: bool,
}

impl Place {
    /// This host, this user and this program.
    fn here(user: bool) -> Result<Place, anyhow::Error> {
        let program = std::env::current_exe().context("cannot tell which file this program is")?;
        let uid = rustix::process::geteuid();
        let scope = match user {
            true if cfg!(target_os = "macos") => environment::home(),
            true => environment::user_config(),
            false => None,
        };
        let scope = match (user, scope) {
            (true, None) => bail!("no home: set HOME"),
            (true, Some(folder)) => Scope::User { folder, uid: uid.as_raw() },
            (false, _) if uid.is_root() => Scope::Host,
            (false, _) => bail!("a service of the host needs root: use sudo, or --user for one of your own"),
        };
        // sd_booted(3). launchd always runs.
        let is_running = cfg!(target_os = "macos") || Path::new("/run/systemd/system").is_dir();
        Ok(Place { root: PathBuf::from("/"), program, scope, is_running })
    }

    fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file of ours in its place: written, or left as somebody edited it, and then the new text beside it.
    fn put(&self, path: PathBuf, text: &str, seal: Seal) -> Result<Step, anyhow::Error> {
        let text = seal.on(text);
        Ok(match seal.of(read(&path)?.as_deref()) {
            Sealed::Edited => {
                let beside = added(&path, "new");
                Step::WriteBeside { path, beside, text }
            }
            Sealed::Intact(old) if old == text => Step::Keep { path, why: "it is as it should be".to_owned() },
            Sealed::Intact(_) | Sealed::Missing => Step::Write { path, text },
        })
    }

    /// A file of ours out of its place: removed, or moved aside if somebody edited it.
    fn take(&self, path: PathBuf, seal: Seal) -> Result<Option<Step>, anyhow::Error> {
        Ok(match seal.of(read(&path)?.as_deref()) {
            Sealed::Missing => None,
            Sealed::Intact(_) => Some(Step::Remove { path }),
            Sealed::Edited => {
                let to = added(&path, "saved");
                Some(Step::MoveAside { path, to })
            }
        })
    }

    /// The configuration of the host's daemon, if there is none.
    fn configuration(&self) -> Result<Step, anyhow::Error> {
        let path = self.file(CONFIG_PATH);
        Ok(match read(&path)? {
            Some(_) => Step::Keep { path, why: "it is yours".to_owned() },
            None => Step::Write { path, text: CONFIG.to_owned() },
        })
    }

    /// What `uninstall-service` leaves where it is.
    fn left(&self, path: &str, why: &str) -> Option<Step> {
        let path = self.file(path);
        path.exists().then(|| Step::Keep { path, why: why.to_owned() })
    }
}

/// Writes and starts the service.
///
/// # Errors
/// When the place cannot take one, before anything was done; when a step fails.
pub(crate) fn install(options: &ServiceOptions) -> Result<(), Failure> {
    let place = Place::here(options.user)?;
    if matches!(place.scope, Scope::Host) {
        trust(&place.program)?;
    }
    let plan = if cfg!(target_os = "macos") { launchd::install(&place)? } else { systemd::install(&place)? };
    plan.carry_out(options.dry_run)
}

/// Stops the service and removes it. Configuration and history stay.
///
/// # Errors
/// When a package brought it, before anything was done; when a step fails.
pub(crate) fn uninstall(options: &ServiceOptions) -> Result<(), Failure> {
    let place = Place::here(options.user)?;
    let plan = if cfg!(target_os = "macos") { launchd::uninstall(&place)? } else { systemd::uninstall(&place)? };
    plan.carry_out(options.dry_run)
}

/// A program that a service of the host runs must be one that only root can change, and everybody can reach.
fn trust(program: &Path) -> Result<(), anyhow::Error> {
    let remedy = || {
        let program = program.display();
        format!(
            "install it first: install -m 755 {program} /usr/local/bin/, then /usr/local/bin/{NAME} install-service"
        )
    };
    for path in program.ancestors() {
        let there = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        let shown = path.display();
        if there.uid() != 0 || there.mode() & 0o022 != 0 {
            return Err(anyhow!("{shown} can be changed by others than root; {}", remedy()));
        }
        let (needed, what) = if there.is_dir() { (0o001, "entered") } else { (0o005, "run") };
        if there.mode() & needed != needed {
            return Err(anyhow!("{shown} cannot be {what} by the service's user; {}", remedy()));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, anyhow::Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The path with another ending after its own, which no manager takes for a service.
fn added(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
