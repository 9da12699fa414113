//! An operator looks at the pages of a queue on his own machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Stdio};

use crate::desk::Desk;
use crate::kinds::greet;
use crate::work::{signal, until};

struct Served {
    child: Child,
    said: BufReader<ChildStderr>,
    /// Host and port.
    at: String,
    /// The part of the link behind that.
    link: String,
}

/// What the server answers.
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Served {
    fn start(desk: &Desk, flags: &[&str]) -> Self {
        let mut command = desk.hearing(&[&["serve"], flags].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut printed = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut printed).unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let url = printed.trim().strip_prefix("http://").unwrap_or_else(|| panic!("{printed}"));
        let (at, link) = url.split_once('/').unwrap();
        Self { at: at.to_owned(), link: format!("/{link}"), child, said }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = TcpStream::connect(&self.at).unwrap();
        let host = headers.iter().find(|(name, _)| *name == "Host");
        let host = host.map_or(self.at.as_str(), |(_, host)| host);
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers.iter().filter(|(name, _)| *name != "Host") {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: text.split(' ').nth(1).unwrap().parse().unwrap(), text }
    }

    /// Follows the link, and gives the cookie.
    fn enter(&self) -> String {
        let answer = self.ask("GET", &self.link, &[]);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/admin/")));
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    }

    fn end(mut self) -> i32 {
        signal(&self.child, "INT");
        until(&mut self.said, "ended");
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_link_is_good_for_one_visit_and_the_visitor_stays() {
    let desk = Desk::new();
    desk.client().enqueue(greet::with("Ada")).unwrap();
    let served = Served::start(&desk, &[]);
    assert!(served.at.starts_with("127.0.0.1:"), "{}", served.at);
    assert_eq!(served.ask("GET", "/admin/", &[]).status, 401);
    assert_eq!(served.ask("GET", "/?key=0123456789abcdef0123456789abcdef", &[]).status, 401);
    let elsewhere = served.ask("GET", &served.link, &[("Host", "evil.example")]);
    assert_eq!(elsewhere.status, 421, "it does not use up the link");
    let cookie = served.enter();
    assert_ne!(served.ask("GET", &served.link, &[]).status, 303, "it was used");
    let page = served.ask("GET", "/admin/tasks", &[("Cookie", &cookie)]);
    assert_eq!(page.status, 200);
    assert!(page.text.contains("Hello Ada"), "{}", page.text);
    let foreign = [("Cookie", cookie.as_str()), ("Host", "evil.example")];
    assert_ne!(served.ask("GET", "/admin/tasks", &foreign).status, 200, "another name is refused");
    assert_eq!(served.end(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn only_where_that_is_allowed_something_is_done() {
    let desk = Desk::new();
    let id = desk.client().enqueue(greet::with("Ada")).unwrap().id();
    let cancel = |flags: &[&str]| {
        let served = Served::start(&desk, flags);
        let cookie = served.enter();
        let origin = format!("http://{}", served.at);
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Origin", &origin),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Length", "0"),
        ];
        let answer = served.ask("POST", &format!("/api/tasks/{id}/cancel"), &headers);
        assert_eq!(served.end(), 0);
        answer.status
    };
    assert_eq!(cancel(&[]), 403);
    assert_eq!(cancel(&["--allow-actions"]), 200);
    let state = desk.client().get(id).unwrap().state;
    assert_eq!(state, litework::State::Cancelled);
    let actors = desk.client().audit(None, 1).unwrap().entries;
    assert_eq!(actors[0].actor, "cli:ada");
    desk.run(&["serve", "--allow-actions", "--read-only"]).fails(4, "--read-only");
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_a_file_names_comes_in_with_a_password() {
    let desk = Desk::new();
    let file = desk.path("operators");
    desk.run(&["serve", "--auth-file", "operators"]).fails(2, "bad_secrets");
    // The SHA-256 of "test1".
    let digest = "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014";
    std::fs::write(&file, format!("ada:{digest}\n")).unwrap();
    let served = Served::start(&desk, &["--auth-file", "operators"]);
    assert_eq!(served.link, "/admin/");
    let ask = |sent: &[(&str, &str)]| served.ask("GET", "/admin/", sent);
    let asked = ask(&[]);
    assert_eq!(asked.status, 401);
    assert!(asked.header("www-authenticate").unwrap().starts_with("Basic"), "{}", asked.text);
    // ada:test1 and ada:test2.
    assert_eq!(ask(&[("Authorization", "Basic YWRhOnRlc3Qx")]).status, 200);
    assert_eq!(ask(&[("Authorization", "Basic YWRhOnRlc3Qy")]).status, 401);
    assert_eq!(served.end(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_port_that_is_taken_is_told() {
    let desk = Desk::new();
    let served = Served::start(&desk, &[]);
    let port = served.at.rsplit(':').next().unwrap();
    desk.run(&["serve", "--port", port]).fails(2, "cannot_listen");
    assert_eq!(served.end(), 0);
}
