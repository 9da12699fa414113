//! Watch: which requests are listened to at all: for whom they are meant, and from which page they come.
//!
//! A browser says of a request that changes something which site it comes from (`Sec-Fetch-Site`, else `Origin`;
//! see the Fetch standard). What says neither is no browser of today: it is believed if it does what no form can,
//! which is to send JSON or to use another method than `POST`, or brings the token of a form of ours.

use std::hash::Hasher as _;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::access::{Access, credentials, is_same};
use super::fault::Fault;
use super::words::Say;

/// Knows the program's own names, and the tokens of its forms.
pub(crate) struct Guard {
    /// Names without ports, in lower case; empty: any.
    hosts: Vec<String>,
    /// Origins besides the host's own, as in `https://shop.example`.
    origins: Vec<String>,
    key: [u8; 16],
}

impl Guard {
    pub(crate) fn new(hosts: Vec<String>, origins: Vec<String>, key: [u8; 16]) -> Self {
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { hosts, origins, key }
    }

    /// That a request is meant for us: a page elsewhere may have a name of its own lead here.
    pub(crate) fn check_host(&self, request: &Parts) -> Result<(), Fault> {
        let host = host_of(request).and_then(|host| name_of(&host).map(str::to_ascii_lowercase));
        let is_ours = |host: &String| self.hosts.is_empty() || self.hosts.contains(host);
        match host {
            Some(host) if is_ours(&host) => Ok(()),
            _ => Err(Fault::misdirected()),
        }
    }

    /// That a request which changes something was made by a page of the program, or by a program.
    pub(crate) fn check_origin(
        &self,
        request: &Parts,
        access: &Access,
        token: Option<&str>,
    ) -> Result<(), Fault> {
        if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let origin = text_of(&request.headers, "origin");
        let trusted = origin.is_some_and(|origin| self.origins.iter().any(|ours| ours == origin));
        let admitted = match (text_of(&request.headers, "sec-fetch-site"), origin) {
            _ if trusted => true,
            (Some(site), _) => site == "same-origin",
            (None, Some(origin)) => {
                let from = origin.split_once("://").map(|(_, authority)| authority);
                from.is_some() && from == host_of(request).as_deref()
            }
            (None, None) => {
                token.is_some_and(|token| is_same(token, &self.token(access)))
                    || request.method != Method::POST
                    || is_json(&request.headers)
                    || says_by_hand(request)
            }
        };
        if admitted {
            return Ok(());
        }
        tracing::warn!(
            target: "litework::web", method = %request.method, path = ?request.uri.path(), ?origin,
            "a request from another site, or without token, was refused"
        );
        Err(Fault::said(StatusCode::FORBIDDEN, "other_site", Say::OtherSite))
    }

    /// That a request to a program's own handler, which starts something for its sender, was not made by a page of another
    /// site. What says nothing of where it comes from is the program's to judge.
    pub(crate) fn check_start(&self, request: &Parts) -> Result<(), Fault> {
        if request.method == Method::HEAD {
            return Err(Fault::wrong_method(&[Method::GET, Method::POST]));
        }
        let site = text_of(&request.headers, "sec-fetch-site");
        let origin = request.headers.get(header::ORIGIN).map(|it| it.to_str().unwrap_or_default());
        let trusted = origin.is_some_and(|origin| self.origins.iter().any(|ours| ours == origin));
        let is_foreign = match (site, origin) {
            _ if trusted => false,
            // A link that somebody has kept.
            (Some("none"), None) => request.method != Method::GET,
            (Some(site), _) => site != "same-origin",
            (None, Some(origin)) => {
                let from = origin.split_once("://").map(|(_, authority)| authority);
                from.is_none() || from != host_of(request).as_deref()
            }
            (None, None) => false,
        };
        // A browser that looks ahead of its person is not to start anything.
        let is_ahead = ["sec-purpose", "purpose"].into_iter().any(|name| {
            text_of(&request.headers, name).is_some_and(|purpose| purpose.contains("prefetch"))
        });
        if !is_foreign && !is_ahead {
            return Ok(());
        }
        tracing::warn!(
            target: "litework::web", method = %request.method, path = ?request.uri.path(), ?origin,
            "a task was not started, as a page of another site or nobody has asked for it"
        );
        Err(Fault::said(StatusCode::FORBIDDEN, "other_site", Say::OtherSite))
    }

    /// That a socket is opened by a page of the program, or by a program: no other rule keeps pages of other sites from
    /// opening it.
    #[cfg(feature = "axum")]
    pub(crate) fn check_socket(&self, request: &Parts) -> Result<(), Fault> {
        let Some(origin) = request.headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        let from = origin.split_once("://").map(|(_, authority)| authority);
        let is_ours = from.is_some() && from == host_of(request).as_deref();
        if is_ours || self.origins.iter().any(|ours| ours == origin) {
            return Ok(());
        }
        tracing::warn!(target: "litework::web", ?origin, "a socket of another site was refused");
        Err(Fault::forbidden("other_site", "This was opened from another site."))
    }

    /// What the forms of this viewer carry.
    pub(crate) fn token(&self, access: &Access) -> String {
        format!("{:032x}", self.digest(&["token", &access.mark()]))
    }

    /// A number that nobody without the key can tell.
    fn digest(&self, parts: &[&str]) -> u128 {
        digest(SipHasher24::new_with_key(&self.key), parts)
    }
}

/// Whether a program says who it is. A browser brings a name and a password (`Basic`) by itself, with any form.
fn says_by_hand(request: &Parts) -> bool {
    let is_said = request.headers.contains_key(header::AUTHORIZATION);
    is_said && credentials(request, "basic").is_none()
}

/// A number by which the same texts are known again, in each process.
pub(crate) fn plain_digest(parts: &[&str]) -> u128 {
    digest(SipHasher24::new(), parts)
}

fn digest(mut hasher: SipHasher24, parts: &[&str]) -> u128 {
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part.as_bytes());
    }
    hasher.finish128().as_u128()
}

/// The text of a header that is there once.
pub(crate) fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok();
    value.filter(|_| values.next().is_none())
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let media_type = text_of(headers, "content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// The authority that was asked for, as in `shop.example:8080`.
pub(crate) fn host_of(request: &Parts) -> Option<String> {
    match text_of(&request.headers, "host") {
        Some(host) => Some(host.to_owned()),
        None if request.headers.contains_key(header::HOST) => None,
        None => request.uri.authority().map(|authority| authority.as_str().to_owned()),
    }
}

/// The name in an authority, without its port.
pub(crate) fn name_of(authority: &str) -> Option<&str> {
    let parsed: http::uri::Authority = authority.parse().ok()?;
    let is_plain = !authority.contains('@') && !parsed.host().is_empty();
    let name = authority.get(..parsed.host().len())?;
    is_plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(hosts: &[&str]) -> Guard {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Guard::new(owned(hosts), owned(&["https://shop.example"]), [7; 16])
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/tasks/t/7-x/cancel");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_host_is_one_plain_name_and_one_of_ours() {
        let (any, ours) = (guard(&[]), guard(&["localhost", "Shop.example", "[::1]"]));
        for host in ["localhost", "localhost:8080", "SHOP.example", "[::1]:80"] {
            assert!(ours.check_host(&request("GET", &[("host", host)])).is_ok(), "{host}");
        }
        assert!(any.check_host(&request("GET", &[("host", "evil.example")])).is_ok());
        assert!(ours.check_host(&request("GET", &[("host", "evil.example")])).is_err());
        for bad in ["", "ada@localhost", "localhost:80:80", "a b", "[::1"] {
            for guard in [&any, &ours] {
                assert!(guard.check_host(&request("GET", &[("host", bad)])).is_err(), "{bad}");
            }
        }
        let two = request("GET", &[("host", "localhost"), ("host", "localhost")]);
        assert!(ours.check_host(&two).is_err());
        assert!(any.check_host(&request("GET", &[])).is_err());
    }

    #[test]
    fn only_a_page_of_ours_or_a_program_may_change_something() {
        let (guard, ada) = (guard(&[]), Access::owner("ada"));
        let (host, json) = (("host", "localhost:80"), ("content-type", "application/json"));
        let may = |headers: &[(&str, &str)], token: Option<&str>| {
            guard.check_origin(&request("POST", headers), &ada, token).is_ok()
        };
        assert!(may(&[host, ("sec-fetch-site", "same-origin")], None));
        assert!(may(&[host, ("origin", "http://localhost:80")], None));
        assert!(may(
            &[host, ("sec-fetch-site", "cross-site"), ("origin", "https://shop.example")],
            None
        ));
        assert!(may(&[host, json], None));
        assert!(may(&[host], Some(&guard.token(&ada))));
        assert!(may(&[host, ("authorization", "Bearer x")], None));

        assert!(!may(&[host], None));
        assert!(!may(&[host], Some(&guard.token(&Access::owner("bob")))));
        assert!(!may(&[host, ("content-type", "text/plain")], None));
        assert!(
            !may(&[host, ("authorization", "Basic eDp5")], None),
            "a browser brings that itself"
        );
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(
                !may(&[host, json, ("sec-fetch-site", site)], Some(&guard.token(&ada))),
                "{site}"
            );
        }
        for origin in ["null", "http://localhost", "http://evil.example", ""] {
            assert!(!may(&[host, json, ("origin", origin)], None), "{origin}");
        }
        for (method, headers) in [("GET", &[host][..]), ("DELETE", &[host])] {
            assert!(guard.check_origin(&request(method, headers), &ada, None).is_ok(), "{method}");
        }
        let elsewhere = request("DELETE", &[host, ("origin", "http://evil.example")]);
        assert!(guard.check_origin(&elsewhere, &ada, None).is_err());
    }
}
