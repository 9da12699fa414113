//! Define: what nobody is to read of what is stored.

use super::Builder;

impl Builder {
    /// Hides values from people: in arguments, results, errors and logs of all kinds, wherever these are shown, what
    /// goes by a name with this in it, in whichever notation. For one kind see
    /// [`Options::redact`](crate::Options::redact), for what is shown all the same [`Options::show`](crate::Options::show).
    ///
    /// The log of this library (`tracing`) and notices of failures ([`Builder::failure_notice`]) are among these.
    ///
    /// Hidden without it, at any depth: what goes by the name of a password (also `pass`, `pwd`), passphrase, secret,
    /// token, authorization, cookie, signature (`sig`), API key, private key, access key, credential, DSN or connection
    /// string; and what looks
    /// like a secret whatever it is called: keys in PEM, JSON web tokens, the user and password of an address, letters and
    /// digits of 24 or more in random order.
    ///
    /// What is stored is not changed, nor what a program reads.
    ///
    /// ```
    /// # use litework::{Client, Definition, task};
    /// #[task]
    /// fn pay(iban: &str, cents: u64) {}
    ///
    /// let careful = Definition::from(pay).with(|options| options.redact("iban"));
    /// let tasks = Client::in_memory().redact("tax number").register(careful).open()?;
    /// # let _ = tasks;
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn redact(mut self, name: impl AsRef<str>) -> Self {
        self.redaction.hide(name.as_ref());
        self
    }
}
