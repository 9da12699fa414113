//! Watch: gates that need nothing of the program: secrets in a file, and whoever develops it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::access::{Access, Gate, credentials, is_same};
use super::guard::{host_of, name_of};
use crate::error::Error;

/// Bytes of a file of secrets at most.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a name and a password together at most.
const BASIC_BYTES_MAX: usize = 1_024;

/// A gate for a few people at browsers, where the program has no sign-in of its own: the browser asks for a name and a
/// password (HTTP `Basic`), and `access` says what whoever has that name may. All others are denied. It is for HTTPS or
/// for the machine itself, as the password goes along with each request.
///
/// The file holds a line for each, `NAME:DIGEST`, where the digest is the SHA-256 of the password in 64 hexadecimal
/// digits; a name may have several, so that a password can be replaced by the next. Empty lines and such that begin
/// with `#` are passed over. It is read once. SHA-256 is quick, so a password is to be drawn and not thought of: 128
/// bits, as `openssl rand -hex 16` gives them, whose digest `printf %s PASSWORD | sha256sum` tells.
///
/// ```
/// use litework::web::{Access, basic_file};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("operators");
/// let line = "ada:1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014";
/// std::fs::write(&path, format!("# the operators\n{line}\n"))?;
/// let gate = basic_file(&path, |name| Access::admin().named(name))?;
/// # let _ = gate;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `bad_secrets` for a file that cannot be read, that all users of the machine may write, or has no line, and for a line
/// that is not as it should be, with its number.
pub fn basic_file<A>(path: &Path, access: A) -> Result<impl Gate + use<A>, Error>
where
    A: Fn(&str) -> Access + Send + Sync + 'static,
{
    let secrets = Secrets::read(path)?;
    Ok(move |request: &Parts| {
        let given = credentials(request, "basic").and_then(decoded);
        let given = given.as_deref().and_then(|given| given.split_once(':'));
        let known = given.filter(|(name, password)| secrets.has(name, password));
        known.map_or_else(Access::asking_basic, |(name, _)| access(name))
    })
}

/// A gate for programs that ask with `Authorization: Bearer …`, where the secrets stand in a file as digests:
/// `access` says what whoever brings the secret of that name may; all others are denied. The file is that of
/// [`basic_file`].
///
/// ```
/// use litework::web::{Access, bearer_file};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("programs");
/// let digest = "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014";
/// std::fs::write(&path, format!("prometheus:{digest}"))?;
/// let gate = bearer_file(&path, |name| Access::viewer().named(name))?;
/// # let _ = gate;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`basic_file`].
pub fn bearer_file<A>(path: &Path, access: A) -> Result<impl Gate + use<A>, Error>
where
    A: Fn(&str) -> Access + Send + Sync + 'static,
{
    let secrets = Secrets::read(path)?;
    Ok(move |request: &Parts| {
        let known = credentials(request, "bearer").and_then(|secret| secrets.name_of(secret));
        known.map_or_else(Access::denied, &access)
    })
}

/// A gate for whoever develops the program: on the machine itself, in a build with debug assertions, everything is
/// allowed. All others are denied, and so is a request that a proxy has passed on, or that was sent to another name
/// than that of the machine; in a release build everybody is. `peer` says from where the connection comes.
///
/// ```
/// use std::net::SocketAddr;
/// # #[derive(Clone)]
/// # struct Peer(SocketAddr);
///
/// // In axum: `ConnectInfo<SocketAddr>`, with `into_make_service_with_connect_info`.
/// let gate = litework::web::dev_loopback(|request| {
///     request.extensions.get::<Peer>().map(|peer| peer.0)
/// });
/// # let _ = gate;
/// ```
pub fn dev_loopback(
    peer: impl Fn(&Parts) -> Option<SocketAddr> + Send + Sync + 'static,
) -> impl Gate {
    move |request: &Parts| {
        let is_near = peer(request).is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        if cfg!(debug_assertions) && is_near && is_direct(request) {
            Access::admin().named("developer")
        } else {
            Access::denied()
        }
    }
}

/// Whether no proxy has passed it on, and it was sent to a name of the machine itself.
fn is_direct(request: &Parts) -> bool {
    let passed_on = |name: &str| {
        ["forwarded", "via", "x-real-ip"].contains(&name) || name.starts_with("x-forwarded")
    };
    let host = host_of(request);
    let host = host.as_deref().and_then(name_of).unwrap_or_default().to_ascii_lowercase();
    ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str())
        && !request.headers.keys().any(|name| passed_on(name.as_str()))
}

/// Names, each with the digest of a secret.
#[derive(Debug)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn read(path: &Path) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadFile {
            code: "bad_secrets",
            path: path.display().to_string(),
            reason,
            source: None,
        };
        let text = text_of(path).map_err(bad)?;
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let secrets = lines.map(|(at, line)| {
            // What stands there is not told: it may be a secret itself.
            secret_of(line).ok_or_else(|| {
                bad(format!(
                    "line {at} is not NAME:DIGEST, the SHA-256 of a secret in 64 hex digits"
                ))
            })
        });
        let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
        if secrets.is_empty() {
            return Err(
                bad("no line of it says NAME:DIGEST, so nobody would be let in".to_owned()),
            );
        }
        Ok(Self(secrets))
    }

    /// Whether this is a secret of that name.
    fn has(&self, name: &str, secret: &str) -> bool {
        let digest = digest_of(secret);
        let of_name = self.0.iter().filter(|(known, _)| known == name);
        of_name.filter(|(_, kept)| is_same(kept, &digest)).count() > 0
    }

    /// Whose secret it is; how far a line agrees with it, the time it takes does not tell.
    fn name_of(&self, secret: &str) -> Option<&str> {
        let digest = digest_of(secret);
        self.0.iter().fold(
            None,
            |found, (name, kept)| {
                if is_same(kept, &digest) { Some(name.as_str()) } else { found }
            },
        )
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let about = std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err("it is to be a file of at most 64 KiB".to_owned());
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o002 != 0 {
        return Err("every user may write it, and so let himself in: chmod o-w".to_owned());
    }
    std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))
}

fn secret_of(line: &str) -> Option<(String, String)> {
    let (name, digest) = line.split_once(':')?;
    let is_name = (1..=200).contains(&name.len()) && !name.contains(char::is_control);
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_name && is_digest).then(|| (name.to_owned(), digest.to_ascii_lowercase()))
}

fn digest_of(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().fold(String::new(), |mut digits, byte| {
        // Writing to a text cannot fail.
        let _never = write!(digits, "{byte:02x}");
        digits
    })
}

/// The text that stands in Base64 (RFC 4648), with or without padding.
fn decoded(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    let fits = bytes.len() <= BASIC_BYTES_MAX && held < 6;
    String::from_utf8(bytes).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `test1` and `test2`.
    const DIGESTS: [&str; 2] = [
        "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014",
        "60303AE22B998861BCE3B28F33EEC1BE758A213C86C93C076DBE9F558C11C752",
    ];

    fn kept(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secrets");
        std::fs::write(&path, text).expect("there is room");
        (folder, path)
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn whoever_brings_a_secret_of_the_file_is_let_in_under_its_name() {
        let (_folder, path) = kept(&format!("\nada:{}\n # old\nbob:{}", DIGESTS[0], DIGESTS[1]));
        let bearer = bearer_file(&path, |name| Access::owner(name)).expect("it is read");
        let basic = basic_file(&path, |name| Access::owner(name)).expect("it is read");
        let asked = |gate: &dyn Gate, header: &str| {
            let access = gate.access(&request(&[("authorization", header)]));
            (access.own().map(str::to_owned), access.challenge())
        };
        let of = |name: &str| Some(name.to_owned());
        assert_eq!(asked(&bearer, "Bearer test1").0, of("ada"));
        assert_eq!(asked(&bearer, "bearer test2").0, of("bob"));
        // ada:test1, bob:test2
        assert_eq!(asked(&basic, "Basic YWRhOnRlc3Qx").0, of("ada"));
        assert_eq!(asked(&basic, "basic Ym9iOnRlc3Qy").0, of("bob"));
        for wrong in ["Bearer test3", "Bearer ", "Bearer", "Basic YWRhOnRlc3Qx", ""] {
            assert_eq!(asked(&bearer, wrong), (None, "Bearer"), "{wrong}");
        }
        // ada:test2, ada:, ada, and what is none
        for wrong in ["YWRhOnRlc3Qy", "YWRhOg==", "YWRh", "%", "", "YWRhOnRlc3Qxa"] {
            let (own, challenge) = asked(&basic, &format!("Basic {wrong}"));
            assert_eq!(own, None, "{wrong}");
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
        }
        assert_eq!(asked(&basic, "Bearer test1").0, None);
    }

    #[test]
    fn a_file_that_lets_nobody_or_anybody_in_is_refused() {
        let refused = |text: &str| {
            let (_folder, path) = kept(text);
            let read = Secrets::read(&path).expect_err("it is refused");
            assert_eq!(read.code(), "bad_secrets");
            let told = read.to_string();
            told.rsplit_once("secrets: ").map(|(_, reason)| reason.to_owned()).expect("a reason")
        };
        let line = "line 2 is not NAME:DIGEST, the SHA-256 of a secret in 64 hex digits";
        let good = format!("ada:{}", DIGESTS[0]);
        for bad in ["ada", "ada:test1", &format!(":{}", DIGESTS[0]), &good[..67]] {
            assert_eq!(refused(&format!("# all\n{bad}")), line, "{bad}");
        }
        for none in ["", "\n", "# ada"] {
            assert_eq!(refused(none), "no line of it says NAME:DIGEST, so nobody would be let in");
        }
        assert_eq!(refused(&"#\n".repeat(40_000)), "it is to be a file of at most 64 KiB");
        let nowhere = Secrets::read(Path::new("/nowhere/at/all")).expect_err("it is not there");
        assert_eq!(nowhere.code(), "bad_secrets");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_every_user_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_folder, path) = kept(&format!("ada:{}", DIGESTS[0]));
        let open = std::fs::Permissions::from_mode(0o646);
        std::fs::set_permissions(&path, open).expect("it is ours");
        let refused = Secrets::read(&path).expect_err("it is refused").to_string();
        assert!(refused.ends_with("every user may write it, and so let himself in: chmod o-w"));
    }

    #[test]
    fn whoever_develops_it_is_let_in_from_the_machine_itself_alone() {
        let asked = |peer: &str, headers: &[(&str, &str)]| {
            let peer: SocketAddr = peer.parse().expect("an address");
            dev_loopback(move |_| Some(peer)).access(&request(headers)).is_operator()
        };
        let host = ("host", "localhost:8080");
        for near in ["127.0.0.1:5", "127.9.9.9:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert_eq!(asked(near, &[host]), cfg!(debug_assertions), "{near}");
        }
        assert!(!asked("192.0.2.7:5", &[host]));
        for passed_on in ["forwarded", "x-forwarded-for", "x-forwarded-host", "via", "x-real-ip"] {
            assert!(!asked("127.0.0.1:5", &[host, (passed_on, "127.0.0.1")]), "{passed_on}");
        }
        for name in ["evil.example", "localhost.evil.example", ""] {
            assert!(!asked("127.0.0.1:5", &[("host", name)]), "{name}");
        }
        assert!(dev_loopback(|_| None).access(&request(&[host])).is_denied());
    }
}
