//! Watch: what went wrong with a request, told in JSON (RFC 9457) or as a page.
//!
//! Nothing of an engine's own text reaches the outside: a fault of ours has a reference, under which the log has
//! the rest.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;

use super::access::Access;
use super::office::Refused;
use super::shape::View;
use super::words::{Say, Words};
use crate::client::Client;
use crate::error::Error;
use crate::redact::Veiled;

/// Why a request was not answered as it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    /// A stable word.
    pub(crate) code: &'static str,
    /// What went wrong, for people.
    pub(crate) title: Cow<'static, str>,
    /// The same at length.
    pub(crate) detail: String,
    pub(crate) more: Box<More>,
}

/// What few faults have to say.
#[derive(Debug, Clone, Default)]
pub(crate) struct More {
    /// Which of the words for people it is; none where it is told to whoever wrote the request.
    say: Option<Say>,
    /// Under which the log has the rest.
    pub(crate) reference: Option<String>,
    /// Where to sign in.
    pub(crate) login: Option<String>,
    /// In which way somebody may say who he is (RFC 9110).
    pub(crate) challenge: Option<&'static str>,
    /// Methods that are answered.
    pub(crate) allow: Option<String>,
    /// Seconds after which it may be tried again.
    pub(crate) retry_after: Option<u32>,
    /// The task as it stands, where that is what stands in the way.
    pub(crate) task: Option<View>,
}

/// A fault as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a View>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (title, detail) = (Words::default().title(status), detail.into());
        Self { status, code, title, detail, more: Box::default() }
    }

    /// One of which people read in their own words.
    pub(crate) fn said(status: StatusCode, code: &'static str, say: Say) -> Self {
        let fault = Self::new(status, code, Words::default().say(say, ""));
        fault.and(|more| more.say = Some(say))
    }

    /// The same in these words; its code stays.
    pub(crate) fn in_words(&self, words: &Words) -> Self {
        let mut told = self.clone();
        told.title = words.title(self.status);
        if let Some(say) = self.more.say {
            told.detail = words.say(say, self.more.reference.as_deref().unwrap_or_default());
        }
        told
    }

    /// The same without what is hidden of tasks of this kind.
    pub(crate) fn veiled(mut self, client: &Client, kind: &str) -> Self {
        self.detail = client.redacted_text(kind, &self.detail);
        self
    }

    fn and(mut self, say: impl FnOnce(&mut More)) -> Self {
        say(&mut self.more);
        self
    }

    /// No such page, no such task, or not one of theirs: which, is not told.
    pub(crate) fn not_found() -> Self {
        Self::said(StatusCode::NOT_FOUND, "not_found", Say::NotFound)
    }

    pub(crate) fn misdirected() -> Self {
        let detail = "This server does not answer under this name.";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", detail)
    }

    /// Nobody yet; how to become somebody, the gate has said.
    pub(crate) fn denied(access: &Access) -> Self {
        let fault = Self::said(StatusCode::UNAUTHORIZED, "not_signed_in", Say::Unauthorized);
        fault.and(|more| {
            more.login = access.sign_in().map(str::to_owned);
            more.challenge = Some(access.challenge());
        })
    }

    pub(crate) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn wrong_method(allow: &[http::Method]) -> Self {
        let allow = allow.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
        let detail = format!("Only {allow} is answered here.");
        let fault = Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail);
        fault.and(|more| more.allow = Some(allow))
    }

    pub(crate) fn busy() -> Self {
        let fault = Self::said(StatusCode::SERVICE_UNAVAILABLE, "busy", Say::Busy);
        fault.and(|more| more.retry_after = Some(2))
    }

    /// A fault of ours; `what` went wrong goes to the log.
    pub(crate) fn internal(what: &dyn std::fmt::Display) -> Self {
        let reference = format!("{:08x}", fastrand::u32(..));
        tracing::error!(target: "litework::web", reference, error = %Veiled(what), "a request was not answered");
        let fault = Self::said(StatusCode::INTERNAL_SERVER_ERROR, "internal", Say::Internal);
        fault.and(|more| more.reference = Some(reference)).in_words(&Words::default())
    }

    /// Says how the task stands to which it cannot be done.
    pub(crate) fn of_task(self, task: View) -> Self {
        self.and(|more| more.task = Some(task))
    }

    pub(crate) fn problem(&self) -> Problem<'_> {
        Problem {
            r#type: "about:blank",
            title: &self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            reference: self.more.reference.as_deref(),
            login: self.more.login.as_deref(),
            task: self.more.task.as_ref(),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match &error {
            Error::NotFound { .. } | Error::Invalid { code: "no_artifact", .. } => {
                Self::not_found()
            }
            Error::WrongState { code, state, .. } => {
                Self::said(StatusCode::CONFLICT, code, Say::WrongState(*state))
            }
            Error::NotFinished { state, .. } => {
                Self::said(StatusCode::CONFLICT, "not_finished", Say::WrongState(*state))
            }
            Error::NotUnique { .. } | Error::KeyConflict { .. } => {
                Self::said(StatusCode::CONFLICT, error.code(), Say::IsThere)
            }
            Error::Invalid { code, .. } => Self::bad_request(code, error.to_string()),
            Error::InSchedule { .. } | Error::UnknownKind { .. } | Error::Json(_) => {
                Self::bad_request(error.code(), error.to_string())
            }
            Error::Overloaded { .. }
            | Error::Closed
            | Error::NotStored { .. }
            | Error::Busy { .. } => {
                tracing::warn!(target: "litework::web", error = %Veiled(&error), "a request could not be served");
                Self::busy()
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::busy(),
            Refused::Broken => Self::internal(&"no thread could answer it"),
            Refused::Failed(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes by itself is no fault of ours: whoever asked is told when to come back.
    #[test]
    fn a_file_that_is_held_is_asked_for_again() {
        let reason = || "it is held".to_owned();
        for error in [
            Error::Busy { reason: reason(), source: None },
            Error::NotStored { reason: reason(), source: None },
            Error::Closed,
        ] {
            let fault = Fault::from(error);
            assert_eq!((fault.status.as_u16(), fault.code), (503, "busy"));
            assert_eq!(fault.more.retry_after, Some(2));
        }
        let broken = Fault::from(Error::Storage { reason: reason(), source: None });
        assert_eq!((broken.status.as_u16(), broken.more.retry_after), (500, None));
        assert!(!broken.detail.contains("held") && broken.more.reference.is_some());
    }
}
